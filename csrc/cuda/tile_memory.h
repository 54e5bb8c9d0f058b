// Where a store's tiles lie, and how they get there: in the GPU's memory, or, where that has no room, in pinned memory
// of the host. A GPU reads that by itself, at the same addresses: kernels need not know, and only the tiles of documents
// that are scored cross the bus.
#pragma once
#include <cstddef>
#include <cstdint>

#include "cuda/device.h"
#include "cuda/tiles.h"

namespace jcb::cuda {

// What is left free of the GPU's memory: 1 GiB for what queries are made into (centroid scores of 64 queries and 65,536
// centroids are 128 MiB, and eight graphs have such), and a score a document for each of 64 queries, as a graph over
// everything keeps them.
constexpr size_t kKeptFree = size_t{1} << 30;
constexpr size_t kScoresADocument = 64 * sizeof(float);
constexpr size_t kBytesAPosting = 5;  // a document, and its share of where lists are cut (postings.h)
// And of the host's: pinned memory cannot be given to anyone else, and where there is too little Linux ends a process.
constexpr size_t kKeptFreeOfHost = size_t{2} << 30;

// As jcb_engine/kernels/cuda_library.py gives them.
struct StoreOptions {
  int64_t most_on_device = -1;     // bytes of tiles; 0 keeps them on the host, below 0 the device is asked what is free
  int64_t chunk_bytes = 64 << 20;  // of tiles that are made at once
  int32_t threads = 1;             // that make them
};

struct Room {
  size_t device, host;  // bytes that tiles may take
};

// postings: of all segments, which a search among candidates will copy to the device as well.
Room free_room(const StoreOptions& options, size_t documents, size_t postings);
// Where the device has no room. DeviceError where the host has none either.
bool must_lie_on_host(size_t bytes, const Room& room);

// Bytes that kernels read, wherever they lie.
class ReadableBytes {
 public:
  ReadableBytes(size_t size, bool on_host);
  ReadableBytes(ReadableBytes&& other) noexcept;
  ~ReadableBytes();

  char* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  size_t size_;
  bool on_host_;
  char* data_;
};

struct TileMemory {
  bool lies_on_host;
  ReadableBytes tiles, ranks;
};

// Space for a store's tiles, where there is some: the last thing that a store asks for.
TileMemory allocate_tiles(const Tiles& made, const StoreOptions& options);
// Makes the tiles there, a chunk at a time: on their way to the device they take two chunks of the host's memory.
// Returns and throws what Tiles::write does.
float fill_tiles(const Tiles& made, const TileMemory& memory, const StoreOptions& options, Stream stream);

}  // namespace jcb::cuda
