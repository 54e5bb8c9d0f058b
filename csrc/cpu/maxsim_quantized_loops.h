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

// What is read of up to kTokensPerChunk tokens beside their codes, prepared together. Whole vectors are written.
struct FastChunk {
  alignas(64) uint32_t centroid_ids[kTokensPerChunk];
  alignas(64) uint32_t score_multipliers[kTokensPerChunk];
  alignas(64) uint32_t product_multipliers[kTokensPerChunk];
  const int16_t* scores[kTokensPerChunk + kPrefetchTokens];  // rows of centroid scores; the last one over and over

  JCB_INLINE void find_scores(const FastTile& tile, int count) {
    for (int t = 0; t < count; ++t) {
      scores[t] = tile.centroid_scores + static_cast<int64_t>(centroid_ids[t]) * tile.score_stride;
    }
    for (int t = 0; t < kPrefetchTokens; ++t) scores[count + t] = scores[count - 1];
  }
};

// Codes of tokens, of which whole blocks may be read: a copy where those would pass the end of the array. What lies
// between a code and the end of its block meets rows or query values of zero.
class CodeReader {
 public:
  CodeReader(const TokenArrays& tokens, int64_t code_bytes)
      : codes_(tokens.codes),
        code_bytes_(code_bytes),
        safe_tokens_((tokens.tokens * code_bytes - blocks() * kCodeBlock) / code_bytes + 1) {
    if (tokens.tokens * code_bytes < blocks() * kCodeBlock) safe_tokens_ = 0;
  }

  JCB_INLINE int64_t blocks() const { return (code_bytes_ + kCodeBlock - 1) / kCodeBlock; }
  JCB_INLINE int64_t code_bytes() const { return code_bytes_; }

  // Codes of the tokens from `token` on, one after another, and how many of `wanted` may be read there: at least 1.
  JCB_INLINE const uint8_t* codes_of(int64_t token, int wanted, int& count) {
    const uint8_t* codes = codes_ + token * code_bytes_;
    const int64_t safe = safe_tokens_ - token;
    count = safe >= wanted ? wanted : safe > 0 ? static_cast<int>(safe) : 1;
    return __builtin_expect(safe > 0, 1) ? codes : copy(codes);
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
JCB_INLINE void keep_best(const FastChunk& chunk, int token, const typename Simd::Words (&a)[kHalves],
                          typename Simd::Words (&best)[kHalves]) {
  const int16_t* row = chunk.scores[token];
  const auto of_score = Simd::fill_pair(chunk.score_multipliers[token]);
  const auto of_product = Simd::fill_pair(chunk.product_multipliers[token]);
  for (int h = 0; h < kHalves; ++h) {
    const auto score = Simd::multiply_words(Simd::load_words(row + 16 * h), of_score);
    best[h] = Simd::maximum_words(best[h], Simd::add_words(score, Simd::multiply_words(a[h], of_product)));
  }
}

// ------------------------------------------------------------------------------------------------------- row look-up
// The rows of the nibbles of a word of code: sums(row of a nibble, row of the next one), first for the low nibbles, then
// for the high ones. A nibble has 16 rows of 32 bytes.
template <class Simd, class Sums>
JCB_INLINE void for_rows_of_word(const uint8_t* codes, const uint8_t* rows, const Sums& sums) {
  uint64_t word;
  std::memcpy(&word, codes, sizeof(word));
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half, rows += 8 * 512) {
#if defined(__aarch64__)
    // ubfx takes a nibble out. The asm keeps the compiler from joining what follows: the distance of the nibble among 16
    // rows is shifted as it is added, and that of the 16 rows is the offset of the load.
#pragma GCC unroll 4
    for (int pair = 0; pair < 4; ++pair) {
      const uint8_t* even = rows + (word >> (pair * 16 + half * 4) & 15) * 32;
      const uint8_t* odd = rows + (word >> (pair * 16 + 8 + half * 4) & 15) * 32;
      __asm__("" : "+r"(even));
      __asm__("" : "+r"(odd));
      sums(even + pair * 1024, odd + pair * 1024 + 512);
    }
#else
    // Four times a nibble is the distance of its row in units that an x86 address multiplies for nothing. This loop is
    // limited by how many instructions a processor takes in; bytes through memory took 1.3 times as long (Zen 3).
    uint64_t nibbles = (half == 0 ? word << 2 : word >> 2) & 0x3c3c3c3c3c3c3c3c;
#pragma GCC unroll 4
    for (int pair = 0; pair < 4; ++pair) {
      uint64_t even, odd;
      Simd::take_two_bytes(nibbles, even, odd);
      sums(rows + pair * 1024 + even * 8, rows + pair * 1024 + 512 + odd * 8);
    }
#endif
  }
}

template <class Simd>
struct RowBytes {
  static constexpr int kHalves = 2;
  JCB_INLINE explicit RowBytes(const FastTile&) {}

  JCB_INLINE void score(const FastTile& tile, const CodeReader& reader, const uint8_t* codes, int first, int last,
                        const FastChunk& chunk, typename Simd::Words (&best)[2]) {
    static_assert(kRowsPerSum == 2);
    const auto start_even = Simd::load_words(tile.start), start_odd = Simd::load_words(tile.start + 16);
    for (int t = first; t < last; ++t, codes += reader.code_bytes()) {
      Simd::prefetch(chunk.scores[t + kPrefetchTokens]);
      auto even = start_even, odd = start_odd;
      const uint8_t* rows = static_cast<const uint8_t*>(tile.rows);
      for (int64_t word = 0; word < tile.code_words; ++word, rows += 16 * 512) {
        for_rows_of_word<Simd>(codes + 8 * word, rows, [&](const uint8_t* a, const uint8_t* b) {
          Simd::widen(Simd::add_bytes(Simd::load_bytes(a), Simd::load_bytes(b)), even, odd);
        });
      }
      const typename Simd::Words a[2] = {Simd::shift_left(Simd::without_odd(even, odd), tile.shift),
                                         Simd::shift_left(odd, tile.shift)};
      keep_best<Simd, 2>(chunk, t, a, best);
    }
  }
};

template <class Simd>
struct RowWords {
  static constexpr int kHalves = 1;
  JCB_INLINE explicit RowWords(const FastTile&) {}

  JCB_INLINE void score(const FastTile& tile, const CodeReader& reader, const uint8_t* codes, int first, int last,
                        const FastChunk& chunk, typename Simd::Words (&best)[1]) {
    for (int t = first; t < last; ++t, codes += reader.code_bytes()) {
      Simd::prefetch(chunk.scores[t + kPrefetchTokens]);
      typename Simd::Words even = Simd::fill_words(0), odd = even;  // two chains of additions
      const uint8_t* rows = static_cast<const uint8_t*>(tile.rows);
      for (int64_t word = 0; word < tile.code_words; ++word, rows += 16 * 512) {
        for_rows_of_word<Simd>(codes + 8 * word, rows, [&](const uint8_t* a, const uint8_t* b) {
          even = Simd::add_words(even, Simd::load_words(a));
          odd = Simd::add_words(odd, Simd::load_words(b));
        });
      }
      const typename Simd::Words a[1] = {Simd::add_words(even, odd)};
      keep_best<Simd, 1>(chunk, t, a, best);
    }
  }
};

// ---------------------------------------------------------------------------------------------------------- products
template <class Simd, int kBits, int kHalvesOfTile>
struct Dot {
  static constexpr int kHalves = kHalvesOfTile;
  static constexpr int kTokens = Simd::kDotTokens;
  alignas(64) uint8_t weights[kTokens * kLargestDimensions];
  JCB_INLINE explicit Dot(const FastTile&) {}

  JCB_INLINE void score(const FastTile& tile, const CodeReader& reader, const uint8_t* codes, int first, int last,
                        const FastChunk& chunk, typename Simd::Words (&best)[kHalves]) {
    const typename Simd::template CodeWeights<kBits> weights_of(tile.weights);
    const int64_t positions = tile.positions, blocks = reader.blocks(), code_bytes = reader.code_bytes();
    for (int t0 = first; t0 < last; t0 += kTokens) {
      int token[kTokens];  // the last one again where there are no more: that changes no maximum
      for (int t = 0; t < kTokens; ++t) {
        token[t] = t0 + t < last ? t0 + t : last - 1;
        Simd::prefetch(chunk.scores[token[t] + kPrefetchTokens]);
        weights_of(codes + (token[t] - first) * code_bytes, blocks, weights + t * positions);
      }
      typename Simd::Words a[kTokens][kHalves];
      Simd::template dot<kTokens, kHalves>(tile, weights, a);
      for (int t = 0; t < kTokens; ++t) keep_best<Simd, kHalves>(chunk, token[t], a[t], best);
    }
  }
};

// ---------------------------------------------------------------------------------------------------- documents, fast
template <class Simd, class Kernel>
bool score_tile(const FastTile& tile, const TokenScale& scale, const TokenArrays& tokens, const TokenRun* runs,
                int64_t count, float* scores) {
  Kernel kernel(tile);
  CodeReader codes(tokens, tile.code_bytes);
  FastChunk chunk;
  for (int64_t i = 0; i < count; ++i) {
    if (i + 1 < count) prefetch_document<Simd>(tokens, runs[i + 1], tile.code_bytes);
    if (runs[i].begin == runs[i].end) continue;
    typename Simd::Words best[Kernel::kHalves];
    for (auto& values : best) values = Simd::fill_words(-32768);
    for (int64_t first = runs[i].begin; first < runs[i].end; first += kTokensPerChunk) {
      const int64_t left = runs[i].end - first;
      const int length = static_cast<int>(left < kTokensPerChunk ? left : kTokensPerChunk);
      if (!load_centroid_ids(tokens, first, length, chunk.centroid_ids)) return false;
      Simd::token_multipliers(tokens.sigmas + first, tokens.norms + first, length, scale, chunk.score_multipliers,
                              chunk.product_multipliers);
      chunk.find_scores(tile, length);
      for (int done = 0, part = 0; done < length; done += part) {
        const uint8_t* start = codes.codes_of(first + done, length - done, part);
        kernel.score(tile, codes, start, done, done + part, chunk, best);
      }
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
  using Wide = typename Simd::OfThirtyTwo;
  constexpr int kHalves = 32 * sizeof(int16_t) / sizeof(typename Wide::Words);
  return tile.columns == 32 ? score_tile<Wide, Dot<Wide, kBits, kHalves>>(tile, scale, tokens, runs, count, scores)
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
