// The operations of the MaxSim loops in portable C++: fixed small arrays that compilers turn into the vectors of their
// baseline. simd_avx2.h and simd_avx512.h have the same names, and the same integer results.
#pragma once
#include <cstdint>
#include <cstring>

#include "cpu/maxsim_quantized.h"
#include "jcb/half.h"

namespace jcb::maxsim {
namespace {  // private to each file that includes this: nothing here may be shared between instruction sets

#define JCB_INLINE inline __attribute__((always_inline))

struct Scalar {
  struct Bytes {
    uint8_t lane[32];
  };
  struct Words {
    int16_t lane[16];
  };
  static constexpr int kFloatLanes = 4;
  struct Floats {
    float lane[kFloatLanes];
  };
  static constexpr int kDotTokens = 1;
  static constexpr int kExactTokens = 1;

  // ---------------------------------------------------------------------------------------------------------- bytes
  template <class Vector>
  static JCB_INLINE Vector load(const void* from) {
    Vector v;
    std::memcpy(&v, from, sizeof(v));
    return v;
  }
  static JCB_INLINE Bytes load_bytes(const void* from) { return load<Bytes>(from); }
  static JCB_INLINE Bytes add_bytes(Bytes a, Bytes b) {
    for (int i = 0; i < 32; ++i) a.lane[i] = static_cast<uint8_t>(a.lane[i] + b.lane[i]);
    return a;
  }
  // even += bytes 2i + 256 * bytes 2i+1, odd += bytes 2i+1, modulo 2^16.
  static JCB_INLINE void widen(Bytes bytes, Words& even, Words& odd) {
    for (int i = 0; i < 16; ++i) {
      even.lane[i] = static_cast<int16_t>(even.lane[i] + bytes.lane[2 * i] + 256 * bytes.lane[2 * i + 1]);
      odd.lane[i] = static_cast<int16_t>(odd.lane[i] + bytes.lane[2 * i + 1]);
    }
  }

  // ---------------------------------------------------------------------------------------------------------- words
  static JCB_INLINE Words load_words(const void* from) { return load<Words>(from); }
  static JCB_INLINE Words fill_words(int16_t value) {
    Words v;
    for (int i = 0; i < 16; ++i) v.lane[i] = value;
    return v;
  }
  static JCB_INLINE Words fill_pair(uint32_t twice) { return fill_words(static_cast<int16_t>(twice)); }
  static JCB_INLINE Words add_words(Words a, Words b) {
    for (int i = 0; i < 16; ++i) a.lane[i] = static_cast<int16_t>(a.lane[i] + b.lane[i]);
    return a;
  }
  // even - 256 * odd: what widen() added too much.
  static JCB_INLINE Words without_odd(Words even, Words odd) {
    for (int i = 0; i < 16; ++i) even.lane[i] = static_cast<int16_t>(even.lane[i] - 256 * odd.lane[i]);
    return even;
  }
  static JCB_INLINE Words shift_left(Words a, int count) {
    for (int i = 0; i < 16; ++i) a.lane[i] = static_cast<int16_t>(a.lane[i] * (1 << count));
    return a;
  }
  static JCB_INLINE Words multiply_words(Words a, Words b) {  // rounded a * b / 2^15
    for (int i = 0; i < 16; ++i) a.lane[i] = static_cast<int16_t>((a.lane[i] * b.lane[i] + 0x4000) >> 15);
    return a;
  }
  static JCB_INLINE Words maximum_words(Words a, Words b) {
    for (int i = 0; i < 16; ++i) a.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i];
    return a;
  }
  // Sum of values * weights over 16 or, with a second pair, 32 columns.
  template <int kHalves>
  static JCB_INLINE float weighted_sum(const Words (&values)[kHalves], const float* weights) {
    float sums[8] = {};
    for (int h = 0; h < kHalves; ++h) {
      for (int i = 0; i < 16; ++i) sums[i % 8] += static_cast<float>(values[h].lane[i]) * weights[16 * h + i];
    }
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
  }

  // --------------------------------------------------------------------------------------------------- document tokens
  static JCB_INLINE void prefetch(const void* address) { __builtin_prefetch(address); }

  // 16 bytes of code -> weights in the order of dimension_of_position().
  template <int kBits>
  static JCB_INLINE void weights_of_block(const uint8_t* codes, const uint8_t* table, uint8_t* weights) {
    for (int j = 0; j < 4 / kBits; ++j) {
      for (int i = 0; i < 16; ++i) {
        weights[32 * j + i] = table[16 * j + (codes[i] & 15)];
        weights[32 * j + 16 + i] = table[16 * j + (codes[i] >> 4)];
      }
    }
    for (int i = 0; kBits == 8 && i < 16; ++i) weights[i] = table[codes[i]];
  }

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

  // ------------------------------------------------------------------------------------------------------- products
  // a[t][h]: A of kDotTokens tokens and kHalves * 16 columns. weights: [kTokens][positions].
  template <int kTokens, int kHalves>
  static JCB_INLINE void dot(const FastTile& tile, const uint8_t* weights, Words (&a)[kTokens][kHalves]) {
    constexpr int kColumns = 16 * kHalves;
    for (int t = 0; t < kTokens; ++t) {
      int32_t sums[kColumns];
      std::memcpy(sums, tile.start32, sizeof(sums));
      for (int64_t group = 0; group < tile.positions / 4; ++group) {
        const uint8_t* w = weights + t * tile.positions + group * 4;
        const int8_t* q = tile.query + group * 4 * kColumns;
        for (int c = 0; c < kColumns; ++c) {
          sums[c] += w[0] * q[4 * c] + w[1] * q[4 * c + 1] + w[2] * q[4 * c + 2] + w[3] * q[4 * c + 3];
        }
      }
      for (int c = 0; c < kColumns; ++c) a[t][c / 16].lane[c % 16] = static_cast<int16_t>(sums[c] >> tile.shift);
    }
  }

  // --------------------------------------------------------------------------------------------------------- floats
  static JCB_INLINE Floats load_floats(const float* from) { return load<Floats>(from); }
  static JCB_INLINE void store_floats(float* to, Floats v) { std::memcpy(to, &v, sizeof(v)); }
  static JCB_INLINE Floats load_floats(const float* from, int count) {  // zeros from count on
    Floats v{};
    for (int i = 0; i < kFloatLanes && i < count; ++i) v.lane[i] = from[i];
    return v;
  }
  static JCB_INLINE Floats fill(float value) {
    Floats v;
    for (int i = 0; i < kFloatLanes; ++i) v.lane[i] = value;
    return v;
  }
  static JCB_INLINE Floats add(Floats a, Floats b) {
    for (int i = 0; i < kFloatLanes; ++i) a.lane[i] += b.lane[i];
    return a;
  }
  static JCB_INLINE Floats multiply(Floats a, Floats b) {
    for (int i = 0; i < kFloatLanes; ++i) a.lane[i] *= b.lane[i];
    return a;
  }
  static JCB_INLINE Floats multiply_add(Floats a, Floats b, Floats c) {
    for (int i = 0; i < kFloatLanes; ++i) c.lane[i] += a.lane[i] * b.lane[i];
    return c;
  }
  static JCB_INLINE Floats maximum(Floats a, Floats b) {
    for (int i = 0; i < kFloatLanes; ++i) a.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i];
    return a;
  }
  static JCB_INLINE float sum(Floats a) { return (a.lane[0] + a.lane[2]) + (a.lane[1] + a.lane[3]); }

 private:
  static JCB_INLINE float clamped(float value, float largest) {
    value = value < largest ? value : largest;
    return value > 0.0f ? value : 0.0f;
  }
  static JCB_INLINE uint32_t twice(float value) {  // value rounded to an i16, as in Tile::convert_centroid_scores
    const float shifted = value + 12582912.0f;
    uint32_t bits;
    std::memcpy(&bits, &shifted, sizeof(bits));
    return (bits & 0xffff) * 0x10001u;
  }
};

}  // namespace
}  // namespace jcb::maxsim
