// MaxSim over a store that lies on a GPU. Rules as in jcb_engine/kernels/interface.py; pointers are host memory.
#pragma once
#include <cstdint>
#include <vector>

#include "cuda/device.h"
#include "cuda/level_bytes.h"
#include "cuda/plan.h"
#include "cuda/tile_layout.h"
#include "cuda/tiles.h"
#include "jcb/candidates.h"
#include "jcb/store.h"

namespace jcb::cuda {

// A copy of a store on a GPU: tiles, centroids, levels. Whoever makes, uses or deletes one, or queries for it, has that GPU
// in use (DeviceScope).
class DeviceStore {
 public:
  // Throws CorruptIndex, std::invalid_argument (too many dimensions for the GPU) and DeviceError.
  explicit DeviceStore(const StoreView& store, int device = 0);

  int64_t documents() const { return static_cast<int64_t>(document_sums.size()) - 1; }
  bool is_raw() const { return shape.bits == kRawBits; }
  uint32_t centroid_rows() const;  // up to a multiple of 16; none where vectors are raw

  const int device;
  const Stream stream{};  // the default one: allocations are in its order
  const CodecView codec;  // its pointers are not kept
  const TileShape shape;
  const LevelBytes level_bytes;
  const float span;  // what centroid scores are steps of: at least the longest centroid
  std::vector<uint64_t> document_sums;
  float max_sigma = 0.0f, max_norm = 0.0f;
  DeviceArray<char> tiles, ranks;
  DeviceArray<uint64_t> sums;
  DeviceArray<uint4> centroid_tiles, centroid_halves;
  DeviceArray<float> centroids, levels;
  DeviceArray<uint32_t> level_words, level_halves;  // the integers; what HalfTable reads

 private:
  DeviceStore(const StoreView& store, Tiles made, int device);
};

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

  void score_fast(const Plan& plan, const Launch& arrays, float* partial) const;
  void score_batch(const Plan& plan, const Launch& arrays, float* partial) const;
  void score_exact(const Plan& plan, const Launch& arrays, float* partial) const;
  void run(const Plan& plan, const Launch& arrays, bool exact, float* partial) const;

  double raw_error_bound(int64_t query) const;

  const DeviceStore& store_;
  const std::vector<float> queries_;
  const std::vector<int64_t> query_offsets_;
  uint32_t piece_count_ = 0;
  DeviceArray<uint2> bytes_, halves_;
  DeviceArray<float> columns_, steps_, units_;
  DeviceArray<uint8_t> scores_;
};

}  // namespace jcb::cuda
