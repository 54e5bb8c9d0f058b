// The fast loops of maxsim_quantized, written once. `Simd` brings the vectors and operations of an instruction set
// (simd_<set>.h); maxsim_quantized_<set>.cpp instantiates them under that set's compiler flags.
#pragma once
#include <cstdint>
#include <cstring>

#include "cpu/maxsim_quantized.h"
#include "cpu/maxsim_quantized_tokens.h"

namespace jcb::maxsim {
namespace {  // private to each file that includes this: see simd_scalar.h

constexpr int kPrefetchTokens = 8;

// Per-token scalars of up to kTokensPerChunk tokens, converted together. Whole vectors are written.
struct FastChunk {
  alignas(64) uint32_t centroid_ids[kTokensPerChunk];
  alignas(64) uint32_t score_multipliers[kTokensPerChunk];
  alignas(64) uint32_t product_multipliers[kTokensPerChunk];
};

// Codes of a token, of which whole blocks may be read: a copy where those would pass the end of the array. What lies
// between the code and the end of a block meets rows or query values of zero.
class CodeReader {
 public:
  CodeReader(const TokenArrays& tokens, int64_t code_bytes)
      : codes_(tokens.codes),
        code_bytes_(code_bytes),
        safe_tokens_((tokens.tokens * code_bytes - blocks() * kCodeBlock) / code_bytes + 1) {
    if (tokens.tokens * code_bytes < blocks() * kCodeBlock) safe_tokens_ = 0;
  }

  JCB_INLINE int64_t blocks() const { return (code_bytes_ + kCodeBlock - 1) / kCodeBlock; }

  JCB_INLINE const uint8_t* codes_of(int64_t token) {
    const uint8_t* codes = codes_ + token * code_bytes_;
    return __builtin_expect(token < safe_tokens_, 1) ? codes : copy(codes);
  }

 private:
  __attribute__((noinline)) const uint8_t* copy(const uint8_t* codes) {
    std::memset(copy_ + (blocks() - 1) * kCodeBlock, 0, kCodeBlock);
    std::memcpy(copy_, codes, static_cast<size_t>(code_bytes_));
    return copy_;
  }

  const uint8_t* codes_;
  int64_t code_bytes_;
  int64_t safe_tokens_;
  uint8_t copy_[kLargestDimensions];  // 8 bits a dimension
};

// best = max(best, R(S16 m1) + R(A m2)) for one token and its columns.
template <class Simd, int kHalves>
JCB_INLINE void keep_best(const FastTile& tile, const FastChunk& chunk, int token,
                          const typename Simd::Words (&a)[kHalves], typename Simd::Words (&best)[kHalves]) {
  const int16_t* row = tile.centroid_scores + static_cast<int64_t>(chunk.centroid_ids[token]) * (16 * kHalves);
  const auto of_score = Simd::fill_pair(chunk.score_multipliers[token]);
  const auto of_product = Simd::fill_pair(chunk.product_multipliers[token]);
  for (int h = 0; h < kHalves; ++h) {
    const auto score = Simd::multiply_words(Simd::load_words(row + 16 * h), of_score);
    best[h] = Simd::maximum_words(best[h], Simd::add_words(score, Simd::multiply_words(a[h], of_product)));
  }
}

// ------------------------------------------------------------------------------------------------------- row look-up
#if defined(__aarch64__)
// A word of code, out of which ubfx takes a nibble. The asm keeps the compiler from joining what follows: the distance of
// the nibble among 16 rows is shifted as it is added, and that of the 16 rows is the offset of the load.
class Nibbles {
 public:
  explicit JCB_INLINE Nibbles(const uint8_t* codes) { std::memcpy(&word, codes, sizeof(word)); }
  // Of nibble j among the 16 rows of 512 bytes of each.
  JCB_INLINE const uint8_t* row(const uint8_t* rows, int j) const {
    const uint8_t* row = rows + (word >> (j % 8 * 8 + j / 8 * 4) & 15) * 32;
    __asm__("" : "+r"(row));
    return row + j * 512;
  }

 private:
  uint64_t word;
};
#else
// A word of code as 4 * its 8 low and 4 * its 8 high nibbles: eight times that is the distance of a nibble's row, which
// an x86 address does for nothing. Taken apart in integer registers: bytes through memory took 1.3 times as long
// (Zen 3), and shifts, which overwrite their operand, 1.1 times as long as rotations (rorx).
class Nibbles {
 public:
  explicit JCB_INLINE Nibbles(const uint8_t* codes) {
    uint64_t word;
    std::memcpy(&word, codes, sizeof(word));
    low = word << 2 & 0x3c3c3c3c3c3c3c3c;
    high = word >> 2 & 0x3c3c3c3c3c3c3c3c;
  }
  // Of nibble j among the 16 rows of 512 bytes of each.
  JCB_INLINE const uint8_t* row(const uint8_t* rows, int j) const {
    return rows + (j * 512 + (rotate(j < 8 ? low : high, j % 8 * 8) & 255) * 8);
  }

 private:
  static JCB_INLINE uint64_t rotate(uint64_t value, int count) {
    return count == 0 ? value : value >> count | value << (64 - count);
  }

  uint64_t low, high;
};
#endif

template <class Simd>
JCB_INLINE void prefetch_scores(const FastTile& tile, const FastChunk& chunk, int token, int count) {
  const int ahead = token + kPrefetchTokens < count ? token + kPrefetchTokens : token;
  Simd::prefetch(tile.centroid_scores + static_cast<int64_t>(chunk.centroid_ids[ahead]) * tile.columns);
}

template <class Simd>
struct RowBytes {
  static constexpr int kHalves = 2;

  JCB_INLINE void score(const FastTile& tile, CodeReader& codes, int64_t first, int count, const FastChunk& chunk,
                        typename Simd::Words (&best)[2]) {
    static_assert(kRowsPerSum == 2);
    const auto start_even = Simd::load_words(tile.start), start_odd = Simd::load_words(tile.start + 16);
    for (int t = 0; t < count; ++t) {
      prefetch_scores<Simd>(tile, chunk, t, count);
      auto even = start_even, odd = start_odd;
      const uint8_t* code = codes.codes_of(first + t);
      const uint8_t* rows = static_cast<const uint8_t*>(tile.rows);
      for (int64_t word = 0; word < tile.code_words; ++word, rows += 16 * 512) {
        const Nibbles nibbles(code + 8 * word);
#pragma GCC unroll 8
        for (int j = 0; j < 16; j += 2) {
          const auto first_row = Simd::load_bytes(nibbles.row(rows, j));
          Simd::widen(Simd::add_bytes(first_row, Simd::load_bytes(nibbles.row(rows, j + 1))), even, odd);
        }
      }
      const typename Simd::Words a[2] = {Simd::shift_left(Simd::without_odd(even, odd), tile.shift),
                                         Simd::shift_left(odd, tile.shift)};
      keep_best<Simd, 2>(tile, chunk, t, a, best);
    }
  }
};

template <class Simd>
struct RowWords {
  static constexpr int kHalves = 1;

  JCB_INLINE void score(const FastTile& tile, CodeReader& codes, int64_t first, int count, const FastChunk& chunk,
                        typename Simd::Words (&best)[1]) {
    for (int t = 0; t < count; ++t) {
      prefetch_scores<Simd>(tile, chunk, t, count);
      typename Simd::Words even = Simd::fill_words(0), odd = even;  // two chains of additions
      const uint8_t* code = codes.codes_of(first + t);
      const uint8_t* rows = static_cast<const uint8_t*>(tile.rows);
      for (int64_t word = 0; word < tile.code_words; ++word, rows += 16 * 512) {
        const Nibbles nibbles(code + 8 * word);
#pragma GCC unroll 8
        for (int j = 0; j < 16; j += 2) {
          even = Simd::add_words(even, Simd::load_words(nibbles.row(rows, j)));
          odd = Simd::add_words(odd, Simd::load_words(nibbles.row(rows, j + 1)));
        }
      }
      const typename Simd::Words a[1] = {Simd::add_words(even, odd)};
      keep_best<Simd, 1>(tile, chunk, t, a, best);
    }
  }
};

// ---------------------------------------------------------------------------------------------------------- products
template <class Simd, int kBits, int kHalvesOfTile>
struct Dot {
  static constexpr int kHalves = kHalvesOfTile;
  static constexpr int kTokens = Simd::kDotTokens;
  alignas(64) uint8_t weights[kTokens * kLargestDimensions];

  JCB_INLINE void score(const FastTile& tile, CodeReader& codes, int64_t first, int count, const FastChunk& chunk,
                        typename Simd::Words (&best)[kHalves]) {
    for (int t0 = 0; t0 < count; t0 += kTokens) {
      int token[kTokens];  // the last one again where a chunk has no more: that changes no maximum
      for (int t = 0; t < kTokens; ++t) {
        token[t] = t0 + t < count ? t0 + t : count - 1;
        prefetch_scores<Simd>(tile, chunk, token[t], count);
        Simd::template weights_of_code<kBits>(codes.codes_of(first + token[t]), codes.blocks(), tile.weights,
                                              weights + t * tile.positions);
      }
      typename Simd::Words a[kTokens][kHalves];
      Simd::template dot<kTokens, kHalves>(tile, weights, a);
      for (int t = 0; t < kTokens; ++t) keep_best<Simd, kHalves>(tile, chunk, token[t], a[t], best);
    }
  }
};

// ---------------------------------------------------------------------------------------------------- documents, fast
template <class Simd, class Kernel>
bool score_tile(const FastTile& tile, const TokenScale& scale, const TokenArrays& tokens, const TokenRun* runs,
                int64_t count, float* scores) {
  Kernel kernel;
  CodeReader codes(tokens, tile.code_bytes);
  FastChunk chunk;
  for (int64_t i = 0; i < count; ++i) {
    if (runs[i].begin == runs[i].end) continue;
    typename Simd::Words best[Kernel::kHalves];
    for (auto& values : best) values = Simd::fill_words(-32768);
    for (int64_t first = runs[i].begin; first < runs[i].end; first += kTokensPerChunk) {
      const int64_t left = runs[i].end - first;
      const int length = static_cast<int>(left < kTokensPerChunk ? left : kTokensPerChunk);
      if (!load_centroid_ids(tokens, first, length, chunk.centroid_ids)) return false;
      Simd::token_multipliers(tokens.sigmas + first, tokens.norms + first, length, scale, chunk.score_multipliers,
                              chunk.product_multipliers);
      kernel.score(tile, codes, first, length, chunk, best);
    }
    // Rounded before it is added, where a compiler would fuse the two: the same bits from every instruction set.
    volatile float part = scale.unit * Simd::template weighted_sum<Kernel::kHalves>(best, tile.steps);
    scores[i] += part;
  }
  return true;
}

template <class Simd, int kBits>
bool score_dot(const FastTile& tile, const TokenScale& scale, const TokenArrays& tokens, const TokenRun* runs,
               int64_t count, float* scores) {
  return tile.columns == 32 ? score_tile<Simd, Dot<Simd, kBits, 2>>(tile, scale, tokens, runs, count, scores)
                            : score_tile<Simd, Dot<Simd, kBits, 1>>(tile, scale, tokens, runs, count, scores);
}

template <class Simd>
bool score_rows(const FastTile& tile, const TokenScale& scale, const TokenArrays& tokens, const TokenRun* runs,
                int64_t count, float* scores) {
  return tile.columns == 32 ? score_tile<Simd, RowBytes<Simd>>(tile, scale, tokens, runs, count, scores)
                            : score_tile<Simd, RowWords<Simd>>(tile, scale, tokens, runs, count, scores);
}

template <class Simd>
bool score_fast(const FastTile& tile, const TokenScale& scale, const TokenArrays& tokens, const TokenRun* runs,
                int64_t count, float* scores) {
  if constexpr (Simd::kDotTokens > 0) {
    if (tile.bits == 8) return score_dot<Simd, 8>(tile, scale, tokens, runs, count, scores);
    if (tile.bits == 4) return score_dot<Simd, 4>(tile, scale, tokens, runs, count, scores);
    if (tile.family == Family::kDot) return score_dot<Simd, 2>(tile, scale, tokens, runs, count, scores);
  }
  return score_rows<Simd>(tile, scale, tokens, runs, count, scores);
}

}  // namespace
}  // namespace jcb::maxsim
