// How a store gets to the emulated GPU: tiles made in chunks, by several threads, on the device or on the host; and
// which of the two it is.
#include "cuda/tile_memory.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "cuda/maxsim.h"
#include "cuda/scan.h"
#include "tests/check.h"
#include "tests/corpus.h"
#include "tests/emulated_gpu.h"

namespace jcb::tests {
namespace {

constexpr int kWidths[] = {1, 2, 8, 16};
constexpr cuda::StoreOptions kOnHost{.most_on_device = 0};

Corpus corpus_of(int nbits, const std::vector<int64_t>& lengths) {
  CorpusOptions options;
  options.dim = 40;
  options.nbits = nbits;
  options.document_lengths = lengths;
  return Corpus(options);
}

// Several segments, one without a document, and documents without a token at every end.
StoreView segments_of(const Corpus& corpus) {
  StoreView store = store_of(corpus);
  const SegmentView segment = store.segments[0];
  SegmentView nothing = segment;
  nothing.documents = 0;
  store.segments = {nothing, segment, nothing, nothing, segment, nothing};
  store.segment_starts = {0};
  for (const SegmentView& each : store.segments) {
    store.segment_starts.push_back(store.segment_starts.back() + each.documents);
  }
  return store;
}

// Tiles, then ranks.
std::vector<char> bytes_of(const cuda::DeviceStore& store) {
  const size_t tile_bytes = store.document_sums.back() * store.shape.bytes();
  std::vector<char> bytes(store.tiles(), store.tiles() + tile_bytes);
  bytes.insert(bytes.end(), store.ranks(), store.ranks() + (store.tile_bytes() - tile_bytes));
  return bytes;
}

void test_tiles_are_the_same_bytes_in_chunks_of_any_size() {
  const std::vector<int64_t> many{0, 1, 17, 0, 16, 130, 15, 3000, 33, 1, 64, 0};  // one longer than most chunks
  for (const int nbits : kWidths) {
    for (const std::vector<int64_t>& lengths : {many, {0, 0}, {5}, {}}) {
      const Corpus corpus = corpus_of(nbits, lengths);
      const StoreView view = segments_of(corpus);
      const cuda::Tiles made(view);
      std::vector<uint8_t> tiles(made.count() * made.shape.bytes()), ranks(made.count() * made.rank_bytes());
      const float longest = made.write(0, made.count(), tiles.data(), ranks.data());
      tiles.insert(tiles.end(), ranks.begin(), ranks.end());
      for (const int64_t chunk_bytes : {int64_t{0}, int64_t{1}, int64_t{5000}, int64_t{64} << 20}) {
        for (const int threads : {1, 3}) {
          for (const int64_t most_on_device : {-1, 0}) {
            const cuda::DeviceStore store(view, 0, {most_on_device, chunk_bytes, threads});
            const std::vector<char> bytes = bytes_of(store);
            const auto same = [](char a, uint8_t b) { return static_cast<uint8_t>(a) == b; };
            JCB_CHECK(std::equal(bytes.begin(), bytes.end(), tiles.begin(), tiles.end(), same),
                      "%d bits, %zu documents, chunks of %ld bytes, %d threads, %ld at most on the device", nbits,
                      lengths.size(), static_cast<long>(chunk_bytes), threads, static_cast<long>(most_on_device));
            JCB_CHECK(store.max_norm == std::max(made.max_norm, longest), "the longest vector: %g", store.max_norm);
          }
        }
      }
    }
  }
}

template <class Exception, class Function>
std::string message_of(const Function& function) {
  try {
    function();
  } catch (const Exception& error) {
    return error.what();
  }
  return "";
}

void test_damage_in_any_chunk_is_told() {
  for (const int nbits : {2, 8}) {
    Corpus corpus = corpus_of(nbits, {16, 5000, 16});
    corpus.ids_16[4990] = 900;
    corpus.ids_16[5020] = 901;
    for (const int64_t most_on_device : {-1, 0}) {
      for (const int threads : {1, 4}) {
        for (const int64_t chunk_bytes : {int64_t{1} << 10, int64_t{1} << 30}) {
          const std::string told = message_of<CorruptIndex>([&] {
            cuda::DeviceStore(store_of(corpus), 0, {most_on_device, chunk_bytes, threads});
          });
          JCB_CHECK(told == "token 4990 names centroid 900; there are 64", "%s", told.c_str());
        }
      }
    }
  }
}

template <class Value>
bool same_bits(const std::vector<Value>& a, const std::vector<Value>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(Value)) == 0);
}

// Scores of every way to ask, one after the other.
std::vector<float> scores_of(const cuda::DeviceStore& store, const Corpus& corpus) {
  std::vector<float> found;
  const std::vector<uint32_t> listed{7, 0, 3, 3, 1};
  const std::vector<int64_t> offsets{0, 2, 2, 4, 5};
  const int64_t start = 0, end = static_cast<int64_t>(corpus.all_documents.size());
  Candidates lists, all;
  lists.documents = listed.data();
  lists.list_offsets = offsets.data();
  all.starts = &start;
  all.ends = &end;
  all.range_count = 1;
  const Queries queries(corpus, {32, 5, 40, 3}, 3), one(corpus, {9}, 4);  // four are a batch
  const cuda::DeviceQueries call(store, queries.vectors.data(), queries.offsets.data(), 4);
  const cuda::DeviceQueries alone(store, one.vectors.data(), one.offsets.data(), 1);
  const auto add = [&](const cuda::DeviceQueries& asked, const Candidates& candidates, size_t count, bool exact) {
    found.resize(found.size() + count, NAN);
    asked.score(candidates, exact, found.data() + found.size() - count);
  };
  for (const bool exact : {false, true}) {
    add(call, lists, listed.size(), exact);
    add(call, all, 4 * corpus.all_documents.size(), exact);
    add(alone, all, corpus.all_documents.size(), exact);
  }
  found.push_back(static_cast<float>(call.error_bound(0)));
  return found;
}

void test_scores_are_the_same_bits_wherever_tiles_lie() {
  for (const int nbits : kWidths) {
    const Corpus corpus = corpus_of(nbits, {0, 1, 17, 130, 15, 0, 33, 2});
    const StoreView view = store_of(corpus);
    const cuda::DeviceStore there(view), here(view, 0, kOnHost);
    JCB_CHECK(!there.lies_on_host() && here.lies_on_host(), "%d bits", nbits);
    JCB_CHECK(same_bits(scores_of(there, corpus), scores_of(here, corpus)), "%d bits", nbits);
    const Queries queries(corpus, {20, 3}, 5);
    cuda::Found found[2];
    for (const bool on_host : {false, true}) {
      cuda::Scanner scanner(on_host ? here : there);
      JCB_CHECK(scanner.search(queries.vectors.data(), queries.offsets.data(), 2, 3, nullptr, found[on_host]), "found");
    }
    JCB_CHECK(found[0].offsets == found[1].offsets && found[0].documents.size() == found[1].documents.size(),
              "a search of everything, %d bits", nbits);
    for (int64_t query = 0; query < 2; ++query) {  // in no order: the documents' scores, side by side
      std::vector<float> scores[2] = {std::vector<float>(8, -1.0f), std::vector<float>(8, -1.0f)};
      for (const int on_host : {0, 1}) {
        for (int64_t i = found[on_host].offsets[query]; i < found[on_host].offsets[query + 1]; ++i) {
          scores[on_host][found[on_host].documents[i]] = found[on_host].scores[i];
        }
      }
      JCB_CHECK(same_bits(scores[0], scores[1]), "query %ld of a search of everything", static_cast<long>(query));
    }
  }
}

void test_tiles_lie_on_the_device_as_long_as_it_has_room() {
  auto& settings = cuda::emulation::settings;
  const cuda::emulation::Settings before = settings;
  for (const int nbits : {2, 8}) {
    const Corpus corpus = corpus_of(nbits, {16, 100, 0, 16});
    const StoreView view = store_of(corpus);
    const cuda::Tiles made(view);
    const size_t bytes = made.count() * (made.shape.bytes() + made.rank_bytes());
    const size_t kept = cuda::kKeptFree + 4 * cuda::kScoresADocument;
    const auto lies_on_host = [&] { return cuda::DeviceStore(view).lies_on_host(); };
    settings.free_host_memory = cuda::kKeptFreeOfHost + bytes;
    settings.free_memory = kept + bytes;
    JCB_CHECK(!lies_on_host(), "%d bits: just enough room", nbits);
    settings.free_memory = kept + bytes - 1;
    JCB_CHECK(lies_on_host(), "%d bits: a byte too little", nbits);
    settings.free_memory = 0;
    JCB_CHECK(lies_on_host(), "%d bits: less than is kept free", nbits);
    settings.free_host_memory = cuda::kKeptFreeOfHost + bytes - 1;
    JCB_CHECK(throws<cuda::DeviceError>(lies_on_host), "%d bits: no room anywhere", nbits);
    settings.free_host_memory = 0;
    JCB_CHECK(throws<cuda::DeviceError>(lies_on_host), "%d bits: a host without memory", nbits);
    settings.free_memory = kept + bytes;
    JCB_CHECK(!lies_on_host(), "%d bits: the host is not asked for room that the GPU has", nbits);
    settings = before;
  }
}

void test_what_the_caller_allows_counts_instead() {
  const Corpus corpus = corpus_of(2, {16, 100});
  const cuda::DeviceStore store(store_of(corpus));
  const int64_t bytes = static_cast<int64_t>(store.tile_bytes());
  const auto lies_on_host = [&](int64_t most) { return cuda::DeviceStore(store_of(corpus), 0, {most}).lies_on_host(); };
  JCB_CHECK(!lies_on_host(bytes), "as many bytes as there are");
  JCB_CHECK(lies_on_host(bytes - 1), "a byte less");
  JCB_CHECK(!lies_on_host(INT64_MAX), "any number");
}

void test_what_fits_nowhere_is_told_with_sizes() {
  const std::string told = message_of<cuda::DeviceError>(
      [] { cuda::must_lie_on_host(size_t{300} << 30, {size_t{70} << 30, size_t{200} << 30}); });
  for (const char* part : {"307200 MiB", "71680 MiB", "204800 MiB", "several GPUs", "on the processor"}) {
    JCB_CHECK(told.find(part) != std::string::npos, "%s lacks %s", told.c_str(), part);
  }
}

}  // namespace

int run_all() {
  test_tiles_are_the_same_bytes_in_chunks_of_any_size();
  test_damage_in_any_chunk_is_told();
  test_scores_are_the_same_bits_wherever_tiles_lie();
  test_tiles_lie_on_the_device_as_long_as_it_has_room();
  test_what_the_caller_allows_counts_instead();
  test_what_fits_nowhere_is_told_with_sizes();
  return report("test_cuda_tiles");
}

}  // namespace jcb::tests

int main() {
  jcb::tests::take_seed_from_environment();
  return jcb::tests::run_all();
}
