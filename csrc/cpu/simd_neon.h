// The operations of the MaxSim loops for Armv8.2-A with dot products (FEAT_DotProd). Compiled with JCB_SIMDE they run,
// slowly and with the same bits, on any processor.
//
// Which family for which width was decided by counting, not by a clock: what llvm-mca 19 and Arm's tables of latencies
// give for the loops as g++ 12 compiles them, in cycles per token of 128 dims with 32 query tokens, on two vector units
// (Neoverse N1) and on four (V2):
//   1 bit   rows 57 and 28; products could not be below 128 and 64, whatever the width
//   2 bits  rows 114 and 57, the decoder being the limit; products 128 and 64, and 10 to unfold the codes
//   4 bits  products 140 and 72; rows would be 228 and 114
//   8 bits  products 221 and 113, of which look_up_bytes is 93 and 49; weights one by one would be 128 and 85
// Rows rest on usra, which on Arm's cores adds one cycle after another (latency "4 (1)"), and elsewhere may not.
#pragma once
#if defined(JCB_SIMDE)
#include "cpu/simd_emulated_neon.h"
#else
#include <arm_neon.h>
#endif

#include <cstdint>
#include <cstring>

#include "cpu/maxsim_quantized.h"

namespace jcb::maxsim {
namespace {  // private to each file that includes this: nothing here may be shared between instruction sets

// Pins a vector in a register, for no instruction: a product that must not be fused with a sum, and accumulators of
// which g++ 12 would make copies.
#if defined(JCB_SIMDE)
#define JCB_KEEP(value) (void)(value)
#else
#define JCB_KEEP(value) __asm__ volatile("" : "+w"(value))
#endif

struct Neon {
  static constexpr bool kPermutesLevels = false;
  struct LevelTable {
    JCB_INLINE explicit LevelTable(const float*) {}
  };
  using OfThirtyTwo = Neon;  // as in simd_avx2.h
  struct Bytes {
    uint8x16_t low, high;
  };
  struct Words {  // of 16 query tokens
    int16x8_t low, high;
  };
  using Floats = float32x4_t;
  static constexpr int kFloatLanes = 4;
  static constexpr int kDotTokens = 4;    // with 16 columns: 16 accumulators, 4 of tokens, and query
  static constexpr int kExactTokens = 3;  // with 32 columns: 24 accumulators, 3 of tokens, 1 of query

  // ---------------------------------------------------------------------------------------------------------- bytes
  static JCB_INLINE Bytes load_bytes(const void* from) {
    const uint8_t* bytes = static_cast<const uint8_t*>(from);
    return {vld1q_u8(bytes), vld1q_u8(bytes + 16)};
  }
  static JCB_INLINE Bytes add_bytes(Bytes a, Bytes b) { return {vaddq_u8(a.low, b.low), vaddq_u8(a.high, b.high)}; }
  // The two lowest bytes of `bytes`, which moves on behind them: where the loops do not take nibbles out of words.
  static JCB_INLINE void take_two_bytes(uint64_t& bytes, uint64_t& first, uint64_t& second) {
    first = bytes & 255;
    second = bytes >> 8 & 255;
    bytes >>= 16;
  }
  static JCB_INLINE void widen(Bytes bytes, Words& even, Words& odd) {
    widen(bytes.low, even.low, odd.low);
    widen(bytes.high, even.high, odd.high);
  }

  // ---------------------------------------------------------------------------------------------------------- words
  static JCB_INLINE Words load_words(const void* from) {
    const int16_t* words = static_cast<const int16_t*>(from);
    return {vld1q_s16(words), vld1q_s16(words + 8)};
  }
  static JCB_INLINE void store_words(void* to, Words v) {
    int16_t* words = static_cast<int16_t*>(to);
    vst1q_s16(words, v.low);
    vst1q_s16(words + 8, v.high);
  }
  // 16 products of floats, below 2^15 in size, as the nearest i16.
  static JCB_INLINE Words rounded_words(const float* values, const float* factors) {
    return {rounded_eight(values, factors), rounded_eight(values + 8, factors + 8)};
  }
  // 32 words become the even ones and the odd ones.
  static JCB_INLINE void part(Words& first, Words& second) {
    const Words odd = {vuzp2q_s16(first.low, first.high), vuzp2q_s16(second.low, second.high)};
    first = {vuzp1q_s16(first.low, first.high), vuzp1q_s16(second.low, second.high)};
    second = odd;
  }
  static JCB_INLINE Words fill_words(int16_t value) { return {vdupq_n_s16(value), vdupq_n_s16(value)}; }
  static JCB_INLINE Words fill_pair(uint32_t twice) {
    const int16x8_t pairs = vreinterpretq_s16_u32(vdupq_n_u32(twice));
    return {pairs, pairs};
  }
  static JCB_INLINE Words add_words(Words a, Words b) { return {vaddq_s16(a.low, b.low), vaddq_s16(a.high, b.high)}; }
  static JCB_INLINE Words without_odd(Words even, Words odd) {
    return {vsubq_s16(even.low, vshlq_n_s16(odd.low, 8)), vsubq_s16(even.high, vshlq_n_s16(odd.high, 8))};
  }
  static JCB_INLINE Words shift_left(Words a, int count) {
    const int16x8_t counts = vdupq_n_s16(static_cast<int16_t>(count));
    return {vshlq_s16(a.low, counts), vshlq_s16(a.high, counts)};
  }
  // What AVX2's vpmulhrsw gives: they part only at -32768 * -32768, and no multiplier is negative.
  static JCB_INLINE Words multiply_words(Words a, Words b) {
    return {vqrdmulhq_s16(a.low, b.low), vqrdmulhq_s16(a.high, b.high)};
  }
  static JCB_INLINE Words maximum_words(Words a, Words b) {
    return {vmaxq_s16(a.low, b.low), vmaxq_s16(a.high, b.high)};
  }
  template <int kHalves>
  static JCB_INLINE float weighted_sum(const Words (&values)[kHalves], const float* weights) {
    Floats totals[2] = {fill(0.0f), fill(0.0f)};  // the eight lanes that AVX2 has
    for (int h = 0; h < kHalves; ++h, weights += 16) {
      add_weighted(values[h].low, weights, totals);
      add_weighted(values[h].high, weights + 8, totals);
    }
    return sum(add(totals[0], totals[1]));
  }

  // --------------------------------------------------------------------------------------------------- document tokens
  static JCB_INLINE void prefetch(const void* address) { __builtin_prefetch(address); }

  // As in simd_avx2.h.
  template <int kBits>
  struct CodeWeights {
    uint8x16_t first, second;  // the second at 2 bits
    JCB_INLINE explicit CodeWeights(const uint8_t* table) : first(vld1q_u8(table)), second(vld1q_u8(table + 16)) {}

    JCB_INLINE void operator()(const uint8_t* codes, int64_t blocks, uint8_t* weights) const {
      for (int64_t block = 0; block < blocks; ++block, weights += 128 / kBits) {
        const uint8x16_t code = vld1q_u8(codes + kCodeBlock * block);
        const uint8x16_t low = vandq_u8(code, vdupq_n_u8(15)), high = vshrq_n_u8(code, 4);
        vst1q_u8(weights, vqtbl1q_u8(first, low));
        vst1q_u8(weights + 16, vqtbl1q_u8(first, high));
        if constexpr (kBits == 2) {
          vst1q_u8(weights + 32, vqtbl1q_u8(second, low));
          vst1q_u8(weights + 48, vqtbl1q_u8(second, high));
        }
      }
    }
  };

  static JCB_INLINE void token_multipliers(const uint16_t* sigmas, const uint16_t* norms, int count,
                                           const TokenScale& scale, uint32_t* of_score, uint32_t* of_product) {
    const Floats per_norm = fill(scale.per_norm), per_product = fill(scale.per_product);
    for (int i = 0; i < count; i += kFloatLanes) {
      const Floats norm = clamped(load_halves(norms + i, count - i), scale.max_norm);
      const Floats sigma = clamped(load_halves(sigmas + i, count - i), scale.max_sigma);
      vst1q_u32(of_score + i, twice(multiply(norm, per_norm)));
      vst1q_u32(of_product + i, twice(multiply(multiply(norm, sigma), per_product)));
    }
  }
  static JCB_INLINE void token_scalars(const uint16_t* sigmas, const uint16_t* norms, int count, float max_sigma,
                                       float max_norm, float norm_scale, float* out_sigmas, float* out_norms) {
    for (int i = 0; i < count; i += kFloatLanes) {
      const Floats norm = clamped(load_halves(norms + i, count - i), max_norm);
      store_floats(out_sigmas + i, clamped(load_halves(sigmas + i, count - i), max_sigma));
      store_floats(out_norms + i, multiply(norm, fill(norm_scale)));
    }
  }

  // ------------------------------------------------------------------------------------------------------- products
  // sdot takes four weights of a token out of a lane, so 16 weights are one load. It multiplies i8 by i8: weights are
  // stored less 128 (DotLimits::weight_offset), and all 8 bits of them count.
  template <int kTokens, int kHalves>
  static JCB_INLINE void dot(const FastTile& tile, const uint8_t* weights, Words (&a)[kTokens][kHalves]) {
    const int32x4_t shift = vdupq_n_s32(-tile.shift);
#pragma GCC unroll 2
    for (int h = 0; h < kHalves; ++h) {
      int32x4_t sums[kTokens][4];
#pragma GCC unroll 8
      for (int t = 0; t < kTokens; ++t) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) sums[t][i] = vld1q_s32(tile.start32 + 16 * h + 4 * i);
      }
      const int8_t* query = tile.query + 64 * h;
      const int8_t* token = reinterpret_cast<const int8_t*>(weights);
      for (int64_t p = 0; p < tile.positions; p += 16, token += 16, query += 256 * kHalves) {
        int8x16_t values[kTokens];
#pragma GCC unroll 8
        for (int t = 0; t < kTokens; ++t) values[t] = vld1q_s8(token + t * tile.positions);
        add_products<0>(query, values, sums);
        add_products<1>(query + 64 * kHalves, values, sums);
        add_products<2>(query + 128 * kHalves, values, sums);
        add_products<3>(query + 192 * kHalves, values, sums);
      }
#pragma GCC unroll 8
      for (int t = 0; t < kTokens; ++t) {
        a[t][h] = {narrow(vshlq_s32(sums[t][0], shift), vshlq_s32(sums[t][1], shift)),
                   narrow(vshlq_s32(sums[t][2], shift), vshlq_s32(sums[t][3], shift))};
      }
    }
  }

  // --------------------------------------------------------------------------------------------------------- floats
  static JCB_INLINE Floats load_floats(const float* from) { return vld1q_f32(from); }
  static JCB_INLINE Floats load_floats(const float* from, int count) {
    if (__builtin_expect(count >= kFloatLanes, 1)) return vld1q_f32(from);
    float copy[kFloatLanes] = {};
    for (int i = 0; i < count; ++i) copy[i] = from[i];
    return vld1q_f32(copy);
  }
  static JCB_INLINE void store_floats(float* to, Floats v) { vst1q_f32(to, v); }
  static JCB_INLINE Floats fill(float value) { return vdupq_n_f32(value); }
  static JCB_INLINE Floats add(Floats a, Floats b) { return vaddq_f32(a, b); }
  static JCB_INLINE Floats multiply(Floats a, Floats b) { return vmulq_f32(a, b); }
  static JCB_INLINE Floats multiply_add(Floats a, Floats b, Floats c) { return vfmaq_f32(c, a, b); }
  // The second where one is NaN, as in the other instruction sets: fmax would give NaN.
  static JCB_INLINE Floats maximum(Floats a, Floats b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
  static JCB_INLINE float sum(Floats a) {
    const float32x2_t pairs = vadd_f32(vget_low_f32(a), vget_high_f32(a));
    return vget_lane_f32(pairs, 0) + vget_lane_f32(pairs, 1);
  }

 private:
  static JCB_INLINE void widen(uint8x16_t bytes, int16x8_t& even, int16x8_t& odd) {
    const uint16x8_t pairs = vreinterpretq_u16_u8(bytes);
    even = vreinterpretq_s16_u16(vaddq_u16(vreinterpretq_u16_s16(even), pairs));
    odd = vreinterpretq_s16_u16(vsraq_n_u16(vreinterpretq_u16_s16(odd), pairs, 8));
  }
  static JCB_INLINE void add_weighted(int16x8_t values, const float* weights, Floats (&totals)[2]) {
    Floats products[2] = {multiply(vcvtq_f32_s32(vmovl_s16(vget_low_s16(values))), vld1q_f32(weights)),
                          multiply(vcvtq_f32_s32(vmovl_s16(vget_high_s16(values))), vld1q_f32(weights + 4))};
    for (int i = 0; i < 2; ++i) {
      JCB_KEEP(products[i]);  // not fused, as in the other instruction sets
      totals[i] = add(totals[i], products[i]);
    }
  }

  // The table of 256 weights in 16 registers, a quarter at a time: an index past its quarter looks up zero, or nothing.
  static JCB_INLINE void look_up_bytes(const uint8_t* codes, int64_t blocks, const uint8_t* table, uint8_t* weights) {
    uint8x16x4_t quarters[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) quarters[i] = vld1q_u8_x4(table + 64 * i);
    const uint8x16_t step = vdupq_n_u8(64);
    for (int64_t block = 0; block < blocks; ++block) {
      uint8x16_t code = vld1q_u8(codes + kCodeBlock * block);
      uint8x16_t values = vqtbl4q_u8(quarters[0], code);
#pragma GCC unroll 3
      for (int i = 1; i < 4; ++i) {
        code = vsubq_u8(code, step);
        values = vqtbx4q_u8(values, quarters[i], code);
      }
      vst1q_u8(weights + kCodeBlock * block, values);
    }
  }

  // sums[t] += the four weights in that lane of values[t] times the same four positions of 16 query tokens.
  template <int kLane, int kTokens>
  static JCB_INLINE void add_products(const int8_t* query, const int8x16_t (&values)[kTokens],
                                      int32x4_t (&sums)[kTokens][4]) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const int8x16_t q = vld1q_s8(query + 16 * i);
#pragma GCC unroll 8
      for (int t = 0; t < kTokens; ++t) {
        sums[t][i] = vdotq_laneq_s32(sums[t][i], q, values[t], kLane);
        JCB_KEEP(sums[t][i]);
      }
    }
  }
  static JCB_INLINE int16x8_t narrow(int32x4_t first, int32x4_t second) {  // the low halves
    return vuzp1q_s16(vreinterpretq_s16_s32(first), vreinterpretq_s16_s32(second));
  }

  static JCB_INLINE Floats load_halves(const uint16_t* from, int count) {
    if (__builtin_expect(count >= kFloatLanes, 1)) return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from)));
    uint16_t copy[kFloatLanes] = {};
    for (int i = 0; i < count; ++i) copy[i] = from[i];
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(copy)));
  }
  static JCB_INLINE Floats clamped(Floats value, float largest) {
    const Floats limit = fill(largest);
    return maximum(vbslq_f32(vcltq_f32(value, limit), value, limit), fill(0.0f));
  }
  static JCB_INLINE int16x8_t rounded_eight(const float* values, const float* factors) {
    const Floats low = multiply(load_floats(values), load_floats(factors));
    const Floats high = multiply(load_floats(values + 4), load_floats(factors + 4));
    return vcombine_s16(vmovn_s32(vcvtnq_s32_f32(low)), vmovn_s32(vcvtnq_s32_f32(high)));
  }
  static JCB_INLINE uint32x4_t twice(Floats value) {  // at most 32767: each half of the 32 bits is the i16
    const uint32x4_t rounded = vreinterpretq_u32_s32(vcvtnq_s32_f32(value));
    return vorrq_u32(vshlq_n_u32(rounded, 16), vandq_u32(rounded, vdupq_n_u32(0xffff)));
  }
};

template <>
struct Neon::CodeWeights<8> {
  const uint8_t* table;
  JCB_INLINE explicit CodeWeights(const uint8_t* weights) : table(weights) {}
  JCB_INLINE void operator()(const uint8_t* codes, int64_t blocks, uint8_t* weights) const {
    look_up_bytes(codes, blocks, table, weights);
  }
};

}  // namespace
}  // namespace jcb::maxsim
