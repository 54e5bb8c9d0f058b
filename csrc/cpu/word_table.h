// Scores of all centroids as i16: a quarter of the work of fp32 products, half of the bytes for all that reads them.
//
// A centroid is u8 weights: value ~ unit * weight + low, one lattice for all. A score is A of Family::kDot:
//   <q, centroid> = step_q * word + e
//   |e| <= sum over d of |q_d - s q8_d| |centroid_d| + |s q8_d| unit / 2, and step_q / 2 for the shift, and step_q >> shift
//   for every chain of the bias. At 128 dimensions, 255 weights and vectors of length 1 e is about .001.
#pragma once
#include <cstdint>
#include <vector>

#include "cpu/aligned_array.h"
#include "cpu/maxsim_quantized.h"
#include "cpu/maxsim_quantized_levels.h"
#include "jcb/thread_pool.h"

namespace jcb::maxsim {

// The centroids of a codec as weights. Made once per store; read by all tables.
class ByteCentroids {
 public:
  // Of any codec whose `dim` is at most kLargestDimensions; kernels.words has loops. Values that are not finite count 0.
  ByteCentroids(const Kernels& kernels, const CodecView& codec, const ThreadPool& pool);

  const Kernels& kernels() const { return kernels_; }
  int64_t rows() const { return rows_; }
  int64_t dim() const { return dim_; }
  int64_t positions() const { return positions_; }
  const Lattice& lattice() const { return lattice_; }
  const uint8_t* weights(int64_t row) const { return weights_.get() + row * positions_; }
  double longest() const { return longest_; }        // length of a centroid, or of what its weights stand for

 private:
  const Kernels& kernels_;
  int64_t rows_, dim_, positions_;
  Lattice lattice_;
  AlignedArray<uint8_t> weights_;
  double longest_ = 0.0;
};

class WordTable {
 public:
  // queries: [tokens, D]. Throws std::invalid_argument on NaN or infinity.
  WordTable(const ByteCentroids& centroids, const float* queries, int64_t tokens, const ThreadPool& pool);

  const WordLoops& loops() const { return loops_; }  // of the instruction set that made it
  int64_t rows() const { return rows_; }
  int64_t stride() const { return stride_; }  // a multiple of 16; words that no token fills are 0
  const int16_t* row(int64_t centroid) const { return words_.get() + centroid * stride_; }
  float step(int64_t token) const { return steps_[token]; }
  double longest_centroid() const { return longest_centroid_; }

  // ids, scores: [tokens, count]: the best centroids of every query token, best first, the lower id first in a tie.
  void best(const ThreadPool& pool, int64_t count, int64_t* ids, float* scores) const;

 private:
  void pick(int64_t token, int64_t count, int64_t* ids, float* scores) const;

  const WordLoops& loops_;
  int64_t rows_, tokens_, stride_;
  double longest_centroid_;
  std::vector<float> steps_;  // [tokens]
  AlignedArray<int16_t> words_;
  AlignedArray<int16_t> maxima_;  // [blocks of rows][stride]
};

}  // namespace jcb::maxsim
