// The operations of the MaxSim loops for AVX-512 (F, BW, DQ, VL) with VNNI. What works on bytes of rows, or on words of
// 16 query tokens, is AVX2's, in 256 bits: products, words of 32 query tokens and fp32 gain from wider registers.
#pragma once
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // g++ 12 on its own _mm512_undefined_*(), bug 105593
#endif
#include "cpu/simd_avx2.h"

namespace jcb::maxsim {
namespace {  // private to each file that includes this: nothing here may be shared between instruction sets

struct Avx512Wide;

struct Avx512 : Avx2 {
  using OfThirtyTwo = Avx512Wide;
  using Floats = __m512;
  static constexpr int kFloatLanes = 16;
  static constexpr int kDotTokens = 8;    // with 32 columns: 16 accumulators, 2 of query, and tokens
  static constexpr int kExactTokens = 6;  // with 32 columns: 12 accumulators

  // --------------------------------------------------------------------------------------------------- document tokens
  static JCB_INLINE void token_multipliers(const uint16_t* sigmas, const uint16_t* norms, int count,
                                           const TokenScale& scale, uint32_t* of_score, uint32_t* of_product) {
    int i = 0;
    for (; i + 16 <= count; i += 16) {
      const __m512 norm = clamped(load_halves(norms + i), scale.max_norm);
      const __m512 sigma = clamped(load_halves(sigmas + i), scale.max_sigma);
      _mm512_storeu_si512(of_score + i, twice(_mm512_mul_ps(norm, _mm512_set1_ps(scale.per_norm))));
      _mm512_storeu_si512(of_product + i,
                          twice(_mm512_mul_ps(_mm512_mul_ps(norm, sigma), _mm512_set1_ps(scale.per_product))));
    }
    if (i < count) Avx2::token_multipliers(sigmas + i, norms + i, count - i, scale, of_score + i, of_product + i);
  }

  // ------------------------------------------------------------------------------------------------------- products
  template <int kTokens, int kHalves>
  static JCB_INLINE void dot(const FastTile& tile, const uint8_t* weights, Words (&a)[kTokens][kHalves]) {
    static_assert(kHalves == 1, "32 columns are for Avx512Wide");
    __m512i sums[kTokens][1];
    multiply(tile, weights, sums);
    const __m128i shift = _mm_cvtsi32_si128(tile.shift);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) a[t][0] = _mm512_cvtepi32_epi16(_mm512_sra_epi32(sums[t][0], shift));
  }

  // Two blocks at a time: 32 bytes of code, in registers [block 0, block 0, block 1, block 1] of 16 bytes.
  template <int kBits>
  struct CodeWeights : Avx2::CodeWeights<kBits> {
    using Narrow = Avx2::CodeWeights<kBits>;
    __m512i both_first, both_second;
    JCB_INLINE explicit CodeWeights(const uint8_t* table)
        : Narrow(table),
          both_first(_mm512_broadcast_i32x4(_mm256_castsi256_si128(Narrow::first))),
          both_second(_mm512_broadcast_i32x4(_mm256_castsi256_si128(Narrow::second))) {}

    JCB_INLINE void operator()(const uint8_t* codes, int64_t blocks, uint8_t* weights) const {
      const __m512i high_half = _mm512_set4_epi64(0x400000004, 0x400000004, 0, 0), low_bits = _mm512_set1_epi8(15);
      int64_t block = 0;
      for (; block + 2 <= blocks; block += 2, codes += 2 * kCodeBlock, weights += 256 / kBits) {
        const __m512i both = _mm512_castsi256_si512(load(codes));
        const __m512i code = _mm512_shuffle_i32x4(both, both, 0x50);
        const __m512i nibbles = _mm512_and_si512(_mm512_srlv_epi32(code, high_half), low_bits);
        const __m512i low = _mm512_shuffle_epi8(both_first, nibbles);
        if constexpr (kBits == 4) {
          _mm512_storeu_si512(weights, low);
        } else {
          const __m512i high = _mm512_shuffle_epi8(both_second, nibbles);
          store(weights, _mm512_castsi512_si256(low));
          store(weights + 32, _mm512_castsi512_si256(high));
          store(weights + 64, _mm512_extracti64x4_epi64(low, 1));
          store(weights + 96, _mm512_extracti64x4_epi64(high, 1));
        }
      }
      if (block < blocks) Narrow::operator()(codes, 1, weights);
    }
  };

  // --------------------------------------------------------------------------------------------------------- floats
  static JCB_INLINE Floats load_floats(const float* from) { return _mm512_loadu_ps(from); }
  static JCB_INLINE Floats load_floats(const float* from, int count) {
    const unsigned all = 0xffff;
    return _mm512_maskz_loadu_ps(static_cast<uint16_t>(count >= 16 ? all : count <= 0 ? 0 : all >> (16 - count)), from);
  }
  static JCB_INLINE void store_floats(float* to, Floats v) { _mm512_storeu_ps(to, v); }
  static JCB_INLINE Floats fill(float value) { return _mm512_set1_ps(value); }
  static JCB_INLINE Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  static JCB_INLINE Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static JCB_INLINE Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  static JCB_INLINE Floats maximum(Floats a, Floats b) { return _mm512_max_ps(a, b); }
  static JCB_INLINE float sum(Floats a) {
    return Avx2::sum(_mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1)));
  }

  struct LevelTable {
    __m512 all;
    JCB_INLINE explicit LevelTable(const float* levels) : all(_mm512_loadu_ps(levels)) {}
  };
  template <int kBits>
  static JCB_INLINE Floats levels_of(const uint8_t* codes, const LevelTable& table) {
    alignas(64) static constexpr int kShifts[3][16] = {
        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
        {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30},
        {0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28}};
    uint64_t word = 0;
    std::memcpy(&word, codes, 2 * kBits);
    __m512i words = _mm512_set1_epi32(static_cast<int>(word));
    if constexpr (kBits == 4) {
      const __m256i later = _mm256_set1_epi32(static_cast<int>(word >> 32));
      words = _mm512_inserti64x4(words, later, 1);
    }
    const __m512i index = _mm512_srlv_epi32(words, _mm512_load_si512(kShifts[kBits / 2]));
    return _mm512_permutexvar_ps(index, table.all);
  }

 protected:
  static JCB_INLINE __m512 load_halves(const uint16_t* from) { return _mm512_cvtph_ps(load(from)); }
  static JCB_INLINE __m512 clamped(__m512 value, float largest) {
    return _mm512_max_ps(_mm512_min_ps(value, _mm512_set1_ps(largest)), _mm512_setzero_ps());
  }
  static JCB_INLINE __m512i twice(__m512 value) {  // as Avx2's
    const __m512i rounded = _mm512_cvtps_epi32(value);
    return _mm512_or_si512(_mm512_slli_epi32(rounded, 16), _mm512_and_si512(rounded, _mm512_set1_epi32(0xffff)));
  }

  // sums = start32 + products, 16 columns a register.
  template <int kTokens, int kHalves>
  static JCB_INLINE void multiply(const FastTile& tile, const uint8_t* weights, __m512i (&sums)[kTokens][kHalves]) {
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 2
      for (int h = 0; h < kHalves; ++h) sums[t][h] = _mm512_loadu_si512(tile.start32 + 16 * h);
    }
    const int8_t* query = tile.query;
    const uint8_t* end = weights + tile.positions;
    for (const uint8_t* w = weights; w != end; w += 4, query += 64 * kHalves) {
      __m512i q[kHalves];
#pragma GCC unroll 2
      for (int h = 0; h < kHalves; ++h) q[h] = _mm512_loadu_si512(query + 64 * h);
#pragma GCC unroll 8
      for (int t = 0; t < kTokens; ++t) {
        int four;
        std::memcpy(&four, w + t * tile.positions, sizeof(four));
        const __m512i values = _mm512_set1_epi32(four);
#pragma GCC unroll 2
        for (int h = 0; h < kHalves; ++h) sums[t][h] = _mm512_dpbusd_epi32(sums[t][h], values, q[h]);
      }
#pragma GCC unroll 8
      for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 2
        for (int h = 0; h < kHalves; ++h) JCB_KEEP(sums[t][h]);
      }
    }
  }
};

template <>
struct Avx512::CodeWeights<8> : Avx2::CodeWeights<8> {
  using Avx2::CodeWeights<8>::CodeWeights;
};

// Words of 32 query tokens in one register, for products only. Columns lie so (DotLimits::packed_columns) that packing
// the sums, which goes by lanes of 16 bytes, leaves the tokens in their order.
struct Avx512Wide : Avx512 {
  using Words = __m512i;

  template <int kTokens, int kHalves>
  static JCB_INLINE void dot(const FastTile& tile, const uint8_t* weights, Words (&a)[kTokens][kHalves]) {
    static_assert(kHalves == 1);
    __m512i sums[kTokens][2];
    multiply(tile, weights, sums);
    const __m128i shift = _mm_cvtsi32_si128(tile.shift);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
      a[t][0] = _mm512_packs_epi32(_mm512_sra_epi32(sums[t][0], shift), _mm512_sra_epi32(sums[t][1], shift));
    }
  }

  static JCB_INLINE Words load_words(const void* from) { return _mm512_loadu_si512(from); }
  static JCB_INLINE void store_words(void* to, Words v) { _mm512_storeu_si512(to, v); }
  static JCB_INLINE Words fill_words(int16_t value) { return _mm512_set1_epi16(value); }
  static JCB_INLINE Words fill_pair(uint32_t twice) { return _mm512_set1_epi32(static_cast<int>(twice)); }
  static JCB_INLINE Words add_words(Words a, Words b) { return _mm512_add_epi16(a, b); }
  static JCB_INLINE Words multiply_words(Words a, Words b) { return _mm512_mulhrs_epi16(a, b); }
  static JCB_INLINE Words maximum_words(Words a, Words b) { return _mm512_max_epi16(a, b); }
  template <int kHalves>
  static JCB_INLINE float weighted_sum(const Words (&values)[kHalves], const float* weights) {
    static_assert(kHalves == 1);
    const __m256i halves[2] = {_mm512_castsi512_si256(values[0]), _mm512_extracti64x4_epi64(values[0], 1)};
    return Avx2::weighted_sum<2>(halves, weights);  // the same sums in the same order
  }
};

}  // namespace
}  // namespace jcb::maxsim
