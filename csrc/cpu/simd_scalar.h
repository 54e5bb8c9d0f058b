// The operations of the MaxSim loops in the vector types of GCC and Clang, which every processor's baseline can do.
// simd_avx2.h, simd_avx512.h and simd_neon.h have the same names, and the same integer results.
#pragma once
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi"  // on passing wide vectors: every function here is inlined
#endif
#include <cstdint>
#include <cstring>

#include "cpu/maxsim_quantized.h"
#include "jcb/half.h"

namespace jcb::maxsim {
namespace {  // private to each file that includes this: nothing here may be shared between instruction sets

struct Scalar {
  static constexpr bool kPermutesLevels = false;
  struct LevelTable {
    JCB_INLINE explicit LevelTable(const float*) {}
  };
  typedef uint8_t Bytes __attribute__((vector_size(32)));
  typedef int16_t Words __attribute__((vector_size(32)));
  typedef uint16_t UnsignedWords __attribute__((vector_size(32)));  // where sums may wrap
  typedef float Floats __attribute__((vector_size(16)));
  static constexpr int kFloatLanes = 4;
  static constexpr int kDotTokens = 0;  // none: a baseline has no products of bytes that would beat fp32
  static constexpr int kExactTokens = 1;

  // ------------------------------------------------------------------------------------------------- bytes and words
  template <class Vector>
  static JCB_INLINE Vector load(const void* from) {
    Vector v;
    std::memcpy(&v, from, sizeof(v));
    return v;
  }
  static JCB_INLINE Bytes load_bytes(const void* from) { return load<Bytes>(from); }
  static JCB_INLINE Bytes add_bytes(const Bytes& a, const Bytes& b) { return a + b; }
  // even += bytes 2i + 256 * bytes 2i+1, odd += bytes 2i+1, modulo 2^16.
  static JCB_INLINE void widen(const Bytes& bytes, Words& even, Words& odd) {
    even = wrap(unsign(even) + reinterpret_cast<UnsignedWords>(bytes));
    odd = wrap(unsign(odd) + (reinterpret_cast<UnsignedWords>(bytes) >> 8));
  }

  // The two lowest bytes of `bytes`, which moves on behind them.
  static JCB_INLINE void take_two_bytes(uint64_t& bytes, uint64_t& first, uint64_t& second) {
    first = bytes & 255;
    second = bytes >> 8 & 255;
    bytes >>= 16;
  }

  static JCB_INLINE Words load_words(const void* from) { return load<Words>(from); }
  static JCB_INLINE void store_words(void* to, const Words& v) { std::memcpy(to, &v, sizeof(v)); }
  // 16 products of floats, below 2^15 in size, as the nearest i16.
  static JCB_INLINE Words rounded_words(const float* values, const float* factors) {
    Words rounded;
    for (int i = 0; i < 16; ++i) {
      // 1.5 * 2^23 has a last place of 1: adding it rounds to the nearest integer, whose low bits are then the i16.
      volatile float product = values[i] * factors[i];  // rounded by itself, as in the other instruction sets
      const float shifted = product + 12582912.0f;
      uint32_t bits;
      std::memcpy(&bits, &shifted, sizeof(bits));
      rounded[i] = static_cast<int16_t>(bits);
    }
    return rounded;
  }
  // 32 words become the even ones and the odd ones.
  static JCB_INLINE void part(Words& first, Words& second) {
    Words even, odd;
    for (int i = 0; i < 8; ++i) {
      even[i] = first[2 * i], odd[i] = first[2 * i + 1];
      even[8 + i] = second[2 * i], odd[8 + i] = second[2 * i + 1];
    }
    first = even;
    second = odd;
  }
  static JCB_INLINE Words fill_words(int16_t value) { return Words{} + value; }
  static JCB_INLINE Words fill_pair(uint32_t twice) { return fill_words(static_cast<int16_t>(twice)); }
  static JCB_INLINE Words add_words(const Words& a, const Words& b) { return wrap(unsign(a) + unsign(b)); }
  // even - 256 * odd: what widen() added too much.
  static JCB_INLINE Words without_odd(const Words& even, const Words& odd) {
    return wrap(unsign(even) - (unsign(odd) << 8));
  }
  static JCB_INLINE Words shift_left(const Words& a, int count) {
    return wrap(unsign(a) << static_cast<uint16_t>(count));
  }
  static JCB_INLINE Words multiply_words(const Words& a, const Words& b) {  // rounded a * b / 2^15
    Words rounded;
    for (int i = 0; i < 16; ++i) rounded[i] = static_cast<int16_t>((a[i] * b[i] + 0x4000) >> 15);
    return rounded;
  }
  static JCB_INLINE Words maximum_words(const Words& a, const Words& b) { return a > b ? a : b; }
  // Sum of values * weights over 16 or, with a second half, 32 columns.
  template <int kHalves>
  static JCB_INLINE float weighted_sum(const Words (&values)[kHalves], const float* weights) {
    float sums[8] = {};
    for (int h = 0; h < kHalves; ++h) {
      for (int i = 0; i < 16; ++i) {
        volatile float product = static_cast<float>(values[h][i]) * weights[16 * h + i];  // not fused, anywhere
        sums[i % 8] += product;
      }
    }
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
  }

  // --------------------------------------------------------------------------------------------------- document tokens
  static JCB_INLINE void prefetch(const void* address) { __builtin_prefetch(address); }

  // The two multipliers of each token, every one twice in 32 bits.
  static JCB_INLINE void token_multipliers(const uint16_t* sigmas, const uint16_t* norms, int count,
                                           const TokenScale& scale, uint32_t* of_score, uint32_t* of_product) {
    for (int i = 0; i < count; ++i) {
      const float norm = clamped(half_to_float(norms[i]), scale.max_norm);
      const float sigma = clamped(half_to_float(sigmas[i]), scale.max_sigma);
      of_score[i] = twice(norm * scale.per_norm);
      of_product[i] = twice(norm * sigma * scale.per_product);
    }
  }
  static JCB_INLINE void token_scalars(const uint16_t* sigmas, const uint16_t* norms, int count, float max_sigma,
                                       float max_norm, float norm_scale, float* out_sigmas, float* out_norms) {
    for (int i = 0; i < count; ++i) {
      out_sigmas[i] = clamped(half_to_float(sigmas[i]), max_sigma);
      out_norms[i] = clamped(half_to_float(norms[i]), max_norm) * norm_scale;
    }
  }

  // --------------------------------------------------------------------------------------------------------- floats
  static JCB_INLINE Floats load_floats(const float* from) { return load<Floats>(from); }
  static JCB_INLINE Floats load_floats(const float* from, int count) {  // zeros from count on
    Floats v{};
    for (int i = 0; i < kFloatLanes && i < count; ++i) v[i] = from[i];
    return v;
  }
  static JCB_INLINE void store_floats(float* to, Floats v) { std::memcpy(to, &v, sizeof(v)); }
  static JCB_INLINE Floats fill(float value) { return Floats{} + value; }
  static JCB_INLINE Floats add(Floats a, Floats b) { return a + b; }
  static JCB_INLINE Floats multiply(Floats a, Floats b) { return a * b; }
  static JCB_INLINE Floats multiply_add(Floats a, Floats b, Floats c) { return a * b + c; }
  static JCB_INLINE Floats maximum(Floats a, Floats b) { return a > b ? a : b; }
  static JCB_INLINE float sum(Floats a) { return (a[0] + a[2]) + (a[1] + a[3]); }

 private:
  static JCB_INLINE UnsignedWords unsign(const Words& a) { return reinterpret_cast<UnsignedWords>(a); }
  static JCB_INLINE Words wrap(const UnsignedWords& a) { return reinterpret_cast<Words>(a); }
  static JCB_INLINE float clamped(float value, float largest) {
    value = value < largest ? value : largest;
    return value > 0.0f ? value : 0.0f;
  }
  static JCB_INLINE uint32_t twice(float value) {  // value rounded to an i16, as in rounded_words
#if defined(__aarch64__)
    __asm__("" : "+w"(value));  // the product, not fused with the sum: as in the other instruction sets
#endif
    const float shifted = value + 12582912.0f;
    uint32_t bits;
    std::memcpy(&bits, &shifted, sizeof(bits));
    return (bits & 0xffff) * 0x10001u;
  }
};

}  // namespace
}  // namespace jcb::maxsim
