// The operations of the MaxSim loops for AVX2, FMA and F16C. Compiled with JCB_SIMDE they run, slowly and with the same
// bits, on any processor.
#pragma once
#if defined(JCB_SIMDE)
#include "cpu/simd_emulated.h"
#else
#include <immintrin.h>
#endif

#include <cstdint>
#include <cstring>

#include "cpu/maxsim_quantized.h"

namespace jcb::maxsim {
namespace {  // private to each file that includes this: nothing here may be shared between instruction sets

// Pins a value in a register, for no instruction. g++ 12 turns partly unrolled loops over accumulators into copies and
// keeps one of them in memory, which doubles their time; and it fuses a product with a sum where both were asked for.
#if defined(JCB_SIMDE)
#define JCB_KEEP(value) (void)(value)
#define JCB_KEEP_SCALAR(value) (void)(value)
#else
#define JCB_KEEP(value) __asm__ volatile("" : "+v"(value))
#define JCB_KEEP_SCALAR(value) __asm__ volatile("" : "+r"(value))
#endif

struct Avx2 {
  using OfThirtyTwo = Avx2;  // the operations for products with 32 query tokens
  using Bytes = __m256i;
  using Words = __m256i;  // of 16 query tokens
  using Floats = __m256;
  static constexpr int kFloatLanes = 8;
  static constexpr int kDotTokens = 4;    // with 16 columns: 8 accumulators, 2 of query, 1 of tokens
  static constexpr int kExactTokens = 3;  // with 32 columns: 12 accumulators, 3 of tokens, 1 of query

  // ---------------------------------------------------------------------------------------------------------- bytes
  static JCB_INLINE __m256i load(const void* from) {
    return _mm256_loadu_si256(static_cast<const __m256i*>(from));
  }
  static JCB_INLINE Bytes load_bytes(const void* from) { return load(from); }
  static JCB_INLINE Bytes add_bytes(Bytes a, Bytes b) { return _mm256_add_epi8(a, b); }
  static JCB_INLINE void widen(Bytes bytes, Words& even, Words& odd) {
    even = _mm256_add_epi16(even, bytes);
    odd = _mm256_add_epi16(odd, _mm256_srli_epi16(bytes, 8));
    JCB_KEEP(even);
    JCB_KEEP(odd);
  }

  // The two lowest bytes of `bytes`, which moves on behind them. For x86 three instructions, of which g++ 12 makes five.
  static JCB_INLINE void take_two_bytes(uint64_t& bytes, uint64_t& first, uint64_t& second) {
#if defined(__x86_64__) && !defined(JCB_SIMDE)
    __asm__("movzbl %b[bytes], %k[first]\n\tmovzbl %h[bytes], %k[second]"
            : [first] "=&R"(first), [second] "=R"(second)
            : [bytes] "Q"(bytes));
#else
    first = bytes & 255;
    second = bytes >> 8 & 255;
#endif
    bytes >>= 16;
  }

  // ---------------------------------------------------------------------------------------------------------- words
  static JCB_INLINE Words load_words(const void* from) { return load(from); }
  static JCB_INLINE void store_words(void* to, Words v) { store(to, v); }
  // 16 products of floats, below 2^15 in size, as the nearest i16.
  static JCB_INLINE Words rounded_words(const float* values, const float* factors) {
    const __m256 low = _mm256_mul_ps(_mm256_loadu_ps(values), _mm256_loadu_ps(factors));
    const __m256 high = _mm256_mul_ps(_mm256_loadu_ps(values + 8), _mm256_loadu_ps(factors + 8));
    return packed(_mm256_cvtps_epi32(low), _mm256_cvtps_epi32(high));
  }
  // 32 words become the even ones and the odd ones.
  static JCB_INLINE void part(Words& first, Words& second) {
    const __m256i odd = packed(_mm256_srai_epi32(first, 16), _mm256_srai_epi32(second, 16));
    first = packed(_mm256_srai_epi32(_mm256_slli_epi32(first, 16), 16),
                   _mm256_srai_epi32(_mm256_slli_epi32(second, 16), 16));
    second = odd;
  }
  static JCB_INLINE Words fill_words(int16_t value) { return _mm256_set1_epi16(value); }
  static JCB_INLINE Words fill_pair(uint32_t twice) { return _mm256_set1_epi32(static_cast<int>(twice)); }
  static JCB_INLINE Words add_words(Words a, Words b) { return _mm256_add_epi16(a, b); }
  static JCB_INLINE Words without_odd(Words even, Words odd) {
    return _mm256_sub_epi16(even, _mm256_slli_epi16(odd, 8));
  }
  static JCB_INLINE Words shift_left(Words a, int count) { return _mm256_sll_epi16(a, _mm_cvtsi32_si128(count)); }
  static JCB_INLINE Words multiply_words(Words a, Words b) { return _mm256_mulhrs_epi16(a, b); }
  static JCB_INLINE Words maximum_words(Words a, Words b) { return _mm256_max_epi16(a, b); }
  template <int kHalves>
  static JCB_INLINE float weighted_sum(const Words (&values)[kHalves], const float* weights) {
    __m256 total = _mm256_setzero_ps();
    for (int h = 0; h < kHalves; ++h) {
      const __m128i parts[2] = {_mm256_castsi256_si128(values[h]), _mm256_extracti128_si256(values[h], 1)};
      for (int i = 0; i < 2; ++i) {
        const __m256 value = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(parts[i]));
        __m256 product = _mm256_mul_ps(value, _mm256_loadu_ps(weights + 16 * h + 8 * i));
        JCB_KEEP(product);  // not fused, as in the other instruction sets
        total = _mm256_add_ps(total, product);
      }
    }
    return sum(total);
  }

  // --------------------------------------------------------------------------------------------------- document tokens
  static JCB_INLINE void prefetch(const void* address) {
    _mm_prefetch(static_cast<const char*>(address), _MM_HINT_T0);
  }

  // Weights of codes, by a table (FastTile::weights) that is held in registers: stores of bytes may alias anything, and a
  // compiler would load it again for every token.
  template <int kBits>
  struct CodeWeights {
    __m256i first, second;  // the second at 2 bits
    JCB_INLINE explicit CodeWeights(const uint8_t* table)
        : first(broadcast_block(table)), second(broadcast_block(table + 16)) {}

    JCB_INLINE void operator()(const uint8_t* codes, int64_t blocks, uint8_t* weights) const {
      const __m256i high_half = _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4), low_bits = _mm256_set1_epi8(15);
      for (int64_t block = 0; block < blocks; ++block, weights += 128 / kBits) {
        const __m256i code = broadcast_block(codes + kCodeBlock * block);
        const __m256i nibbles = _mm256_and_si256(_mm256_srlv_epi32(code, high_half), low_bits);
        store(weights, _mm256_shuffle_epi8(first, nibbles));
        if (kBits == 2) store(weights + 32, _mm256_shuffle_epi8(second, nibbles));
      }
    }
  };

  static JCB_INLINE void token_multipliers(const uint16_t* sigmas, const uint16_t* norms, int count,
                                           const TokenScale& scale, uint32_t* of_score, uint32_t* of_product) {
    const __m256 per_norm = _mm256_set1_ps(scale.per_norm), per_product = _mm256_set1_ps(scale.per_product);
    for (int i = 0; i < count; i += 8) {
      const __m256 norm = clamped(load_halves(norms + i, count - i), scale.max_norm);
      const __m256 sigma = clamped(load_halves(sigmas + i, count - i), scale.max_sigma);
      store(of_score + i, twice(_mm256_mul_ps(norm, per_norm)));
      store(of_product + i, twice(_mm256_mul_ps(_mm256_mul_ps(norm, sigma), per_product)));
    }
  }
  static JCB_INLINE void token_scalars(const uint16_t* sigmas, const uint16_t* norms, int count, float max_sigma,
                                       float max_norm, float norm_scale, float* out_sigmas, float* out_norms) {
    for (int i = 0; i < count; i += 8) {
      const __m256 norm = clamped(load_halves(norms + i, count - i), max_norm);
      _mm256_storeu_ps(out_sigmas + i, clamped(load_halves(sigmas + i, count - i), max_sigma));
      _mm256_storeu_ps(out_norms + i, _mm256_mul_ps(norm, _mm256_set1_ps(norm_scale)));
    }
  }

  // ------------------------------------------------------------------------------------------------------- products
  // vpmaddubsw cannot saturate (2 * 127 * largest weight <= 32767); sums over a chain may wrap, since what start16
  // leaves of them fits i16.
  template <int kTokens, int kHalves>
  static JCB_INLINE void dot(const FastTile& tile, const uint8_t* weights, Words (&a)[kTokens][kHalves]) {
    constexpr int kColumns = 16 * kHalves;
    const __m256i ones = _mm256_set1_epi16(1);
    const __m128i shift = _mm_cvtsi32_si128(tile.shift);
#pragma GCC unroll 2
    for (int h = 0; h < kHalves; ++h) {
      alignas(32) __m256i totals[kTokens][2];
      for (auto& row : totals) row[0] = row[1] = _mm256_set1_epi32(tile.rounding);
      const int8_t* query = tile.query + 64 * h;
      const int16_t* start = tile.start16 + 32 * h;
      const uint8_t* w = weights;
      for (int64_t p = 0; p < tile.positions; p += kChain, start += 2 * kColumns) {
        __m256i sums[kTokens][2];
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) sums[t][0] = load(start), sums[t][1] = load(start + 16);
#pragma GCC unroll 2
        for (int group = 0; group < kChain / 4; ++group, query += 4 * kColumns, w += 4) {
          const __m256i q0 = load(query), q1 = load(query + 32);
#pragma GCC unroll 8
          for (int t = 0; t < kTokens; ++t) {
            const __m256i values = broadcast_four(w + t * tile.positions);
            sums[t][0] = _mm256_add_epi16(sums[t][0], _mm256_maddubs_epi16(values, q0));
            sums[t][1] = _mm256_add_epi16(sums[t][1], _mm256_maddubs_epi16(values, q1));
          }
#pragma GCC unroll 8
          for (int t = 0; t < kTokens; ++t) {
            JCB_KEEP(sums[t][0]);
            JCB_KEEP(sums[t][1]);
          }
        }
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) {
          totals[t][0] = _mm256_add_epi32(totals[t][0], _mm256_madd_epi16(sums[t][0], ones));
          totals[t][1] = _mm256_add_epi32(totals[t][1], _mm256_madd_epi16(sums[t][1], ones));
        }
      }
#pragma GCC unroll 8
      for (int t = 0; t < kTokens; ++t) {
        a[t][h] = packed(_mm256_sra_epi32(totals[t][0], shift), _mm256_sra_epi32(totals[t][1], shift));
      }
    }
  }

  // --------------------------------------------------------------------------------------------------------- floats
  static JCB_INLINE Floats load_floats(const float* from) { return _mm256_loadu_ps(from); }
  static JCB_INLINE Floats load_floats(const float* from, int count) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_maskload_ps(from, _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lanes));
  }
  static JCB_INLINE void store_floats(float* to, Floats v) { _mm256_storeu_ps(to, v); }
  static JCB_INLINE Floats fill(float value) { return _mm256_set1_ps(value); }
  static JCB_INLINE Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
  static JCB_INLINE Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  static JCB_INLINE Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
  static JCB_INLINE Floats maximum(Floats a, Floats b) { return _mm256_max_ps(a, b); }
  static JCB_INLINE float sum(Floats a) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
  }

  // Codes of 8 dimensions select among 16 levels, of which those beyond 2^kBits repeat the first.
  static constexpr bool kPermutesLevels = true;
  struct LevelTable {
    __m256 low, high;
    JCB_INLINE explicit LevelTable(const float* levels)
        : low(_mm256_loadu_ps(levels)), high(_mm256_loadu_ps(levels + 8)) {}
  };
  template <int kBits>
  static JCB_INLINE Floats levels_of(const uint8_t* codes, const LevelTable& table) {
    int word = 0;
    std::memcpy(&word, codes, kBits);
    const __m256i shifts = _mm256_setr_epi32(0, kBits, 2 * kBits, 3 * kBits, 4 * kBits, 5 * kBits, 6 * kBits, 7 * kBits);
    const __m256i index = _mm256_srlv_epi32(_mm256_set1_epi32(word), shifts);
    const __m256 low = _mm256_permutevar8x32_ps(table.low, index);
    if constexpr (kBits < 4) return low;
    const __m256 high = _mm256_permutevar8x32_ps(table.high, index);
    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
  }

  // Also for simd_avx512.h.
  static JCB_INLINE __m256i packed(__m256i low, __m256i high) {  // packing works in halves of a register
    return _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
  }
  static JCB_INLINE void store(void* to, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(to), v); }
  static JCB_INLINE __m256i broadcast_block(const uint8_t* from) {  // 16 bytes, into both halves
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  static JCB_INLINE __m256i broadcast_four(const uint8_t* from) {
    int four;
    std::memcpy(&four, from, sizeof(four));
    return _mm256_set1_epi32(four);
  }

 private:
  static JCB_INLINE __m256 load_halves(const uint16_t* from, int count) {
    if (__builtin_expect(count >= 8, 1)) {
      return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
    }
    alignas(16) uint16_t copy[8] = {};
    for (int i = 0; i < count; ++i) copy[i] = from[i];
    return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(copy)));
  }
  static JCB_INLINE __m256 clamped(__m256 value, float largest) {
    return _mm256_max_ps(_mm256_min_ps(value, _mm256_set1_ps(largest)), _mm256_setzero_ps());
  }
  static JCB_INLINE __m256i twice(__m256 value) {  // at most 32767: each half of the 32 bits is the i16
    const __m256i rounded = _mm256_cvtps_epi32(value);
    return _mm256_or_si256(_mm256_slli_epi32(rounded, 16), _mm256_and_si256(rounded, _mm256_set1_epi32(0xffff)));
  }
};

// 256 weights are in memory, looked up one by one.
template <>
struct Avx2::CodeWeights<8> {
  const uint8_t* table;
  JCB_INLINE explicit CodeWeights(const uint8_t* weights) : table(weights) {}

  JCB_INLINE void operator()(const uint8_t* codes, int64_t blocks, uint8_t* weights) const {
    for (int64_t i = 0; i < 16 * blocks; i += 8) {
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) {
        uint8_t weight = table[codes[i + j]];
        JCB_KEEP_SCALAR(weight);  // g++ 12 builds vectors of single bytes otherwise, which takes twice as long
        weights[i + j] = weight;
      }
    }
  }
};

}  // namespace
}  // namespace jcb::maxsim
