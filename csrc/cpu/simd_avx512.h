// The operations of the MaxSim loops for AVX-512 (F, BW, DQ, VL) with VNNI. What works on 16 or 32 query tokens as
// bytes or words is AVX2's, in 256 bits: only products and fp32 gain from wider registers.
#pragma once
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // g++ 12 on its own _mm512_undefined_*(), bug 105593
#endif
#include "cpu/simd_avx2.h"

namespace jcb::maxsim {
namespace {  // private to each file that includes this: nothing here may be shared between instruction sets

struct Avx512 : Avx2 {
  using Floats = __m512;
  static constexpr int kFloatLanes = 16;
  static constexpr int kDotTokens = 8;    // with 32 columns: 16 accumulators, 2 of query, and tokens
  static constexpr int kExactTokens = 6;  // with 32 columns: 12 accumulators

  // ------------------------------------------------------------------------------------------------------- products
  template <int kTokens, int kHalves>
  static JCB_INLINE void dot(const FastTile& tile, const uint8_t* weights, Words (&a)[kTokens][kHalves]) {
    __m512i sums[kTokens][kHalves];
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
    const __m128i shift = _mm_cvtsi32_si128(tile.shift);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 2
      for (int h = 0; h < kHalves; ++h) a[t][h] = _mm512_cvtepi32_epi16(_mm512_sra_epi32(sums[t][h], shift));
    }
  }

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
};

}  // namespace
}  // namespace jcb::maxsim
