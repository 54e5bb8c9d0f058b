#include "cuda/tile_memory.h"

#include <algorithm>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace jcb::cuda {
namespace {

constexpr uint64_t kLeastTilesAThread = 256;  // some milliseconds: less is not worth a thread

size_t less(size_t bytes, size_t kept) { return bytes > kept ? bytes - kept : 0; }

std::string megabytes(size_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

// Several threads write a range of tiles. What one of them throws is thrown here, the first in order.
float write_range(const Tiles& made, uint64_t first, uint64_t last, int threads, char* tiles, char* ranks) {
  const uint64_t most = (last - first + kLeastTilesAThread - 1) / kLeastTilesAThread;
  const uint64_t parts = std::min<uint64_t>(most, static_cast<uint64_t>(std::max(threads, 1)));
  std::vector<float> longest(parts);
  std::vector<std::exception_ptr> errors(parts);
  const auto write = [&](uint64_t part) {
    const uint64_t begin = (last - first) * part / parts, end = (last - first) * (part + 1) / parts;
    try {
      uint8_t* const own_tiles = reinterpret_cast<uint8_t*>(tiles) + begin * made.shape.bytes();
      uint8_t* const own_ranks = reinterpret_cast<uint8_t*>(ranks) + begin * made.rank_bytes();
      longest[part] = made.write(first + begin, first + end, own_tiles, own_ranks);
    } catch (...) {
      errors[part] = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> others;
    for (uint64_t part = 1; part < parts; ++part) others.emplace_back(write, part);
    write(0);
  }
  for (const std::exception_ptr& error : errors) {
    if (error != nullptr) std::rethrow_exception(error);
  }
  return *std::max_element(longest.begin(), longest.end());
}

// Also where an error ends the work: copies that have begun still read the memory that goes then.
struct WaitAtTheEnd {
  ~WaitAtTheEnd() {
    try {
      synchronise(stream);
    } catch (const DeviceError&) {  // the error that brought us here is told
    }
  }
  Stream stream;
};

}  // namespace

Room free_room(const StoreOptions& options, size_t documents, size_t postings) {
  const size_t host = less(free_host_memory(), kKeptFreeOfHost);
  if (options.most_on_device >= 0) return {static_cast<size_t>(options.most_on_device), host};
  return {less(free_memory(), kKeptFree + documents * kScoresADocument + postings * kBytesAPosting), host};
}

bool must_lie_on_host(size_t bytes, const Room& room) {
  if (bytes <= room.device) return false;
  if (bytes <= room.host) return true;
  throw DeviceError("the codes of this index take " + megabytes(bytes) + " on a GPU; this GPU has room for " +
                    megabytes(room.device) + " of them, and the host's memory for " + megabytes(room.host) +
                    ": part them among several GPUs, store fewer bits, or search on the processor, which maps files");
}

ReadableBytes::ReadableBytes(size_t size, bool on_host)
    : size_(size),
      on_host_(on_host),
      data_(static_cast<char*>(size == 0 ? nullptr : on_host ? allocate_pinned(size) : allocate(size))) {}

ReadableBytes::ReadableBytes(ReadableBytes&& other) noexcept
    : size_(std::exchange(other.size_, 0)), on_host_(other.on_host_), data_(std::exchange(other.data_, nullptr)) {}

ReadableBytes::~ReadableBytes() {
  if (data_ != nullptr) (on_host_ ? release_pinned : release)(data_);
}

TileMemory allocate_tiles(const Tiles& made, const StoreOptions& options) {
  // Stores for several GPUs are made at the same time: each has to see what the one before has taken of the host.
  static std::mutex one_at_a_time;
  const std::lock_guard<std::mutex> alone(one_at_a_time);
  const size_t bytes = made.count() * made.shape.bytes(), rank_bytes = made.count() * made.rank_bytes();
  const bool on_host = must_lie_on_host(bytes + rank_bytes, free_room(options, made.sums.size() - 1, made.postings()));
  return {on_host, ReadableBytes(bytes, on_host), ReadableBytes(rank_bytes, on_host)};
}

float fill_tiles(const Tiles& made, const TileMemory& memory, const StoreOptions& options, Stream stream) {
  const size_t tile_bytes = made.shape.bytes(), rank_bytes = made.rank_bytes();
  const uint64_t fitting = static_cast<uint64_t>(std::max<int64_t>(options.chunk_bytes, 0)) / (tile_bytes + rank_bytes);
  const uint64_t chunk = std::clamp<uint64_t>(fitting, 1, std::max<uint64_t>(made.count(), 1));
  const size_t staged = memory.lies_on_host || made.count() == 0 ? 0 : chunk * (tile_bytes + rank_bytes);
  const ReadableBytes staging[2] = {{staged, true}, {staged, true}};
  const WaitAtTheEnd wait{stream};
  float longest = 0.0f;
  for (uint64_t first = 0, turn = 0; first < made.count(); first += chunk, ++turn) {
    const uint64_t last = std::min(first + chunk, made.count()), count = last - first;
    char* const tiles = memory.tiles.data() + first * tile_bytes;
    char* const ranks = memory.ranks.data() + first * rank_bytes;
    if (memory.lies_on_host) {
      longest = std::max(longest, write_range(made, first, last, options.threads, tiles, ranks));
      continue;
    }
    // One chunk is made while the one before is copied: of that, nothing may be left when the next is made.
    char* const made_here = staging[turn % 2].data();
    longest = std::max(longest,
                       write_range(made, first, last, options.threads, made_here, made_here + chunk * tile_bytes));
    synchronise(stream);
    begin_to_device(tiles, made_here, count * tile_bytes, stream);
    if (rank_bytes != 0) begin_to_device(ranks, made_here + chunk * tile_bytes, count * rank_bytes, stream);
  }
  synchronise(stream);
  return longest;
}

}  // namespace jcb::cuda
