// MaxSim over a store that lies on a GPU. Rules as in jcb_engine/kernels/interface.py; pointers are host memory.
#pragma once
#include <cstdint>
#include <vector>

#include "cuda/device.h"
#include "cuda/kernels/work.h"
#include "cuda/level_bytes.h"
#include "cuda/plan.h"
#include "cuda/tile_layout.h"
#include "cuda/tile_memory.h"
#include "cuda/tiles.h"
#include "jcb/candidates.h"
#include "jcb/store.h"

namespace jcb::cuda {

// A copy of a store on a GPU: tiles (which may lie on the host instead: tile_memory.h), centroids, levels. Whoever makes,
// uses or deletes one, or queries for it, has that GPU in use (DeviceScope).
class DeviceStore {
 public:
  // Throws CorruptIndex, std::invalid_argument (too many dimensions for the GPU) and DeviceError.
  explicit DeviceStore(const StoreView& store, int device = 0, const StoreOptions& options = {});

  int64_t documents() const { return static_cast<int64_t>(document_sums.size()) - 1; }
  bool is_raw() const { return shape.bits == kRawBits; }
  bool lies_on_host() const { return memory_.lies_on_host; }
  size_t tile_bytes() const { return memory_.tiles.size() + memory_.ranks.size(); }
  const char* tiles() const { return memory_.tiles.data(); }
  const char* ranks() const { return memory_.ranks.data(); }
  Work everything() const;         // all documents as items
  uint32_t centroid_rows() const;  // up to a multiple of 16; none where vectors are raw

  const int device;
  const Stream stream{};  // the default one: allocations are in its order
  const CodecView codec;  // its pointers are not kept
  const TileShape shape;
  const LevelBytes level_bytes;
  const float span;  // what centroid scores are steps of: at least the longest centroid
  std::vector<uint64_t> document_sums;
  float max_sigma = 0.0f, max_norm = 0.0f;
  DeviceArray<uint64_t> sums;
  DeviceArray<uint4> centroid_tiles, centroid_halves;
  DeviceArray<float> centroids, levels;
  DeviceArray<uint32_t> level_words, level_halves;  // the integers; what HalfTable reads

 private:
  DeviceStore(const StoreView& store, const Tiles& made, int device, const StoreOptions& options);

  const TileMemory memory_;
};

// Pieces of queries on the device and what the kernels make of them: space for `count`, filled as often as wanted.
class PreparedPieces {
 public:
  PreparedPieces() = default;
  PreparedPieces(const DeviceStore& store, uint32_t count);

  // vectors, pieces: on the device, and read in the order of the stream.
  // products: null, or where centroid scores go as they are, [pieces][32][centroid rows] in steps.
  void prepare(const DeviceStore& store, const float* vectors, const Piece* pieces, Stream stream,
               float* products = nullptr) const;
  Queries view(const DeviceStore& store, const Piece* pieces) const;

 private:
  uint32_t count_ = 0;
  DeviceArray<uint2> bytes_, halves_;
  DeviceArray<float> columns_, steps_, units_;
  DeviceArray<int32_t> biases_;
  DeviceArray<uint8_t> scores_;
};

// Fast scores of every piece's items into `partial`. Items of a scan are the same for all pieces, and lie together.
void launch_fast(const DeviceStore& store, const Queries& queries, const Work& work, uint64_t most_tiles, Stream stream,
                 float* partial);
void launch_scan(const DeviceStore& store, const Queries& queries, const Work& work, uint64_t most_tiles, Stream stream,
                 float* partial);
// scores_a_query: of the largest.
void launch_add(const QuerySum* sums, size_t count, uint64_t scores_a_query, const float* partial, float* scores,
                Stream stream);
// Exact scores of the documents in device memory that `lists` names; queries that are several pieces are summed.
// zeros: exact_zeros() of them, for nothing else.
void launch_exact(const DeviceStore& store, const Queries& queries, const DocumentLists& lists, uint32_t query_count,
                  Stream stream, uint32_t* zeros, float* scores);
size_t exact_zeros(uint32_t query_count, uint32_t room);

// Of |fast - exact|, for any document of the store. query: [tokens, dim] of the host.
double error_bound(const DeviceStore& store, const float* query, int64_t tokens);

void check_queries(const float* queries, size_t count);  // std::invalid_argument on NaN or infinity

// Queries of one call, prepared for a store: made once, then scored fast, and exactly for what that found. Points to the
// store. query_offsets: [query_count + 1], rising from 0; std::invalid_argument on NaN or infinity.
class DeviceQueries {
 public:
  DeviceQueries(const DeviceStore& store, const float* queries, const int64_t* query_offsets, int64_t query_count);

  // scores: as in candidates.h. Throws CorruptIndex on a document that the store does not have.
  void score(const Candidates& candidates, bool exact, float* scores) const;
  // Seconds that the GPU takes for fast scores of all documents, each time: no plan, no copies.
  std::vector<double> time_scans(int repeats) const;
  // Of |fast - exact|, for any document of the store.
  double error_bound(int64_t query) const;

  const int device;

 private:
  struct Launch;

  void score_exact(const Plan& plan, const Launch& arrays, float* partial) const;
  void run(const Plan& plan, const Launch& arrays, bool exact, float* partial) const;


  const DeviceStore& store_;
  const std::vector<float> queries_;
  const std::vector<int64_t> query_offsets_;
  PreparedPieces prepared_;
};

}  // namespace jcb::cuda
