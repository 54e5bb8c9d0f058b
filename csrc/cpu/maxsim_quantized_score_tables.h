// What the tables of a tile read of all centroid scores, written once: as maxsim_quantized_loops.h.
#pragma once
#include <cstdint>

#include "cpu/maxsim_quantized.h"

namespace jcb::maxsim {
namespace {  // private to each file that includes this: see simd_scalar.h

template <class Simd>
void largest_sizes(const float* table, int64_t rows, int64_t stride, float* sizes) {
  constexpr int kVectors = kScoreColumns / Simd::kFloatLanes;
  typename Simd::Floats largest[kVectors];
  for (int v = 0; v < kVectors; ++v) largest[v] = Simd::load_floats(sizes + v * Simd::kFloatLanes);
  const auto minus_one = Simd::fill(-1.0f);
  for (int64_t r = 0; r < rows; ++r, table += stride) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {  // the second operand is kept where the first is NaN
      const auto value = Simd::load_floats(table + v * Simd::kFloatLanes);
      largest[v] = Simd::maximum(value, Simd::maximum(Simd::multiply(value, minus_one), largest[v]));
    }
  }
  for (int v = 0; v < kVectors; ++v) Simd::store_floats(sizes + v * Simd::kFloatLanes, largest[v]);
}

template <class Simd>
void convert_scores(const FastTile& tile, const float* table, int64_t rows, int64_t stride, const float* factors,
                    int16_t* to) {
  const bool parted = tile.family == Family::kRowBytes;  // widening u8 to i16 parts even tokens from odd ones
  for (int64_t r = 0; r < rows; ++r, table += stride, to += tile.columns) {
    auto first = Simd::rounded_words(table, factors);
    if (tile.columns == 32) {
      auto second = Simd::rounded_words(table + 16, factors + 16);
      if (parted) Simd::part(first, second);
      Simd::store_words(to + 16, second);
    }
    Simd::store_words(to, first);
  }
}

}  // namespace
}  // namespace jcb::maxsim
