// The loops of word tables, written once: as maxsim_quantized_loops.h.
#pragma once
#include <cstdint>

#include "cpu/maxsim_quantized.h"

namespace jcb::maxsim {
namespace {  // private to each file that includes this: see simd_scalar.h

template <class Simd, int kHalves>
void multiply_columns(const FastTile& tile, const uint8_t* weights, int64_t rows, int64_t stride, int16_t* to) {
  constexpr int kRows = Simd::kDotTokens, kWords = sizeof(typename Simd::Words) / sizeof(int16_t);
  for (int64_t first = 0; first < rows; first += kRows, weights += kRows * tile.positions) {
    typename Simd::Words a[kRows][kHalves];
    Simd::template dot<kRows, kHalves>(tile, weights, a);
    const int64_t count = rows - first < kRows ? rows - first : kRows;
    for (int64_t r = 0; r < count; ++r, to += stride) {
      for (int h = 0; h < kHalves; ++h) Simd::store_words(to + h * kWords, a[r][h]);
    }
  }
}

template <class Simd>
void multiply_weights(const FastTile& tile, const uint8_t* weights, int64_t rows, int64_t stride, int16_t* to) {
  using Wide = typename Simd::OfThirtyTwo;
  constexpr int kHalves = 32 * sizeof(int16_t) / sizeof(typename Wide::Words);
  return tile.columns == 32 ? multiply_columns<Wide, kHalves>(tile, weights, rows, stride, to)
                            : multiply_columns<Simd, 1>(tile, weights, rows, stride, to);
}

template <class Simd>
void convert_words(const FastTile& tile, const int16_t* words, int64_t rows, int64_t stride, const int16_t* factors,
                   int16_t* to) {
  const bool parted = tile.family == Family::kRowBytes;  // as convert_scores
  const auto first_factors = Simd::load_words(factors), second_factors = Simd::load_words(factors + 16);
  for (int64_t r = 0; r < rows; ++r, words += stride, to += tile.columns) {
    auto first = Simd::multiply_words(Simd::load_words(words), first_factors);
    if (tile.columns == 32) {
      auto second = Simd::multiply_words(Simd::load_words(words + 16), second_factors);
      if (parted) Simd::part(first, second);
      Simd::store_words(to + 16, second);
    }
    Simd::store_words(to, first);
  }
}

template <class Simd, int kRegisters>
JCB_INLINE void max_columns(const int16_t* words, int64_t stride, const uint32_t* ids, int64_t count, int16_t* best) {
  constexpr int kWords = sizeof(typename Simd::Words) / sizeof(int16_t);
  typename Simd::Words largest[kRegisters];
#pragma GCC unroll 4
  for (int i = 0; i < kRegisters; ++i) largest[i] = Simd::load_words(best + i * kWords);
  for (int64_t n = 0; n < count; ++n) {
    const int16_t* row = words + static_cast<int64_t>(ids[n]) * stride;
#pragma GCC unroll 4
    for (int i = 0; i < kRegisters; ++i) {
      largest[i] = Simd::maximum_words(largest[i], Simd::load_words(row + i * kWords));
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kRegisters; ++i) Simd::store_words(best + i * kWords, largest[i]);
}

template <class Simd>
void max_word_rows(const int16_t* words, int64_t stride, const uint32_t* ids, int64_t count, int64_t columns,
                   int16_t* best) {
  using Wide = typename Simd::OfThirtyTwo;
  constexpr int kHalves = 32 * sizeof(int16_t) / sizeof(typename Wide::Words);
  int64_t c = 0;
  for (; columns - c > 16; c += 32) max_columns<Wide, kHalves>(words + c, stride, ids, count, best + c);
  if (columns - c > 0) max_columns<Simd, 1>(words + c, stride, ids, count, best + c);
}

template <class Simd>
void column_maxima(const int16_t* words, int64_t stride, int64_t rows, int16_t* to) {
  constexpr int kWords = sizeof(typename Simd::Words) / sizeof(int16_t);
  for (int64_t c = 0; c < stride; c += kWords) {
    auto largest = Simd::load_words(words + c);
    for (int64_t r = 1; r < rows; ++r) largest = Simd::maximum_words(largest, Simd::load_words(words + r * stride + c));
    Simd::store_words(to + c, largest);
  }
}

template <class Simd>
constexpr WordLoops word_loops() {
  if constexpr (Simd::kDotTokens == 0) {
    return {0, nullptr, nullptr, nullptr, nullptr};
  } else {
    return {Simd::kDotTokens, multiply_weights<Simd>, convert_words<Simd>, max_word_rows<Simd>,
            column_maxima<Simd>};
  }
}

}  // namespace
}  // namespace jcb::maxsim
