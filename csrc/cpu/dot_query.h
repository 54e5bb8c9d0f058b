// The query's side of Family::kDot: i8 values, and what the bias of the weights adds to their sums.
//
// sum of q_d * value_d = step * (sum of q8_d * weight_d + start),   value ~ unit * weight + low,   step = s * unit
#pragma once
#include <cstdint>
#include <vector>

#include "cpu/aligned_array.h"
#include "cpu/maxsim_quantized.h"
#include "cpu/maxsim_quantized_levels.h"

namespace jcb::maxsim {

class DotQuery {
 public:
  // columns: 16 or 32. dimensions: of every position, those from `dim` on count nothing; a multiple of kChain.
  // places: of every dimension, the position where its values lie; empty where that is the position itself.
  DotQuery(const Lattice& lattice, const DotLimits& limits, std::vector<int64_t> dimensions,
           std::vector<int64_t> places, int64_t dim, int columns);

  // One query token [D]; its step is at least smallest_step. Zeros have step 0.
  void add(int token, const float* query, double smallest_step);

  // A = sum >> shift, rounded; once, after all tokens.
  void shift_by(int shift);

  // What the loops read; `view` must not outlive this.
  void show(FastTile& view) const;

  const std::vector<int64_t>& dimensions() const { return dimensions_; }
  double step(int token) const { return steps_[token]; }  // of a sum that is not shifted
  double largest_sum(int token) const { return largest_sums_[token]; }  // in size, whatever the weights
  double length(int token) const { return lengths_[token]; }  // of the i8 values
  double chains() const { return static_cast<double>(dimensions_.size()) / kChain; }

 private:
  const Lattice& lattice_;
  const DotLimits limits_;
  const std::vector<int64_t> dimensions_, places_;
  const int64_t dim_;
  const int columns_;
  int shift_ = 0;
  std::vector<double> steps_, largest_sums_, lengths_;
  AlignedArray<int8_t> values_;
  AlignedArray<int32_t> start32_;
  AlignedArray<int16_t> start16_;
};

// The i8 value of one dimension, s being the step over the lattice's unit.
int rounded_value(double value, double s);

}  // namespace jcb::maxsim
