// The operations of the MaxSim loops for AMX with INT8: products of bytes in the tile unit. All else is AVX-512's, and
// codes unfold by its permutations of bytes (VBMI), which every processor with AMX has.
#pragma once
#if defined(JCB_SIMDE)
#include "cpu/tile_unit_emulated.h"
#else
#include "cpu/tile_unit.h"
#endif
#include "cpu/simd_avx512.h"

namespace jcb::maxsim {
namespace {  // private to each file that includes this: nothing here may be shared between instruction sets

struct AmxWide;

// 64 weights of a token out of 8 * kBits bytes of code, in the order of place_in_tiles(). A permutation looks at the six
// lowest bits of each byte, and the upper ones of those choose between copies of the table: nothing has to be masked.
template <int kBits>
struct TileWeights {
  static constexpr int64_t kCodeBytes = 8 * kBits;
  __m512i table, shifts;

  JCB_INLINE explicit TileWeights(const uint8_t* weights)
      : table(_mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(weights)))) {
    alignas(64) int64_t shift_of[8];
    for (int i = 0; i < 8; ++i) shift_of[i] = i / kBits * kBits;
    shifts = _mm512_load_si512(shift_of);
  }

  JCB_INLINE void operator()(const uint8_t* codes, uint8_t* weights) const { look_up(spread(codes), weights); }

  // Where only `blocks` blocks may be read, which are less than kCodeBytes: at 4 and 8 bits.
  JCB_INLINE void short_of(const uint8_t* codes, int64_t, uint8_t* weights) const {
    if constexpr (kBits == 4) {  // one block: each half holds it, and query values of zero meet its second copy
      look_up(_mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes))), weights);
    }
  }

 private:
  static JCB_INLINE __m512i spread(const uint8_t* codes) {
    if constexpr (kBits == 4) return _mm512_broadcast_i64x4(Avx2::load(codes));
    if constexpr (kBits == 2) {
      return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
    }
    int64_t eight;
    std::memcpy(&eight, codes, sizeof(eight));
    return _mm512_set1_epi64(eight);
  }
  JCB_INLINE void look_up(__m512i spread, uint8_t* weights) const {
    _mm512_storeu_si512(weights, _mm512_permutexvar_epi8(_mm512_srlv_epi64(spread, shifts), table));
  }
};

// Four tables of 64 weights, between which the two highest bits of a code choose.
template <>
struct TileWeights<8> {
  static constexpr int64_t kCodeBytes = 64;
  __m512i tables[4];

  JCB_INLINE explicit TileWeights(const uint8_t* weights) {
    for (int i = 0; i < 4; ++i) tables[i] = _mm512_loadu_si512(weights + 64 * i);
  }

  JCB_INLINE void operator()(const uint8_t* codes, uint8_t* weights) const {
    const __m512i code = _mm512_loadu_si512(codes);
    const uint64_t highest = _mm512_movepi8_mask(code), second = _mm512_movepi8_mask(_mm512_add_epi8(code, code));
    __m512i low = _mm512_permutexvar_epi8(code, tables[0]), high = _mm512_permutexvar_epi8(code, tables[2]);
    low = _mm512_mask_permutexvar_epi8(low, second, code, tables[1]);
    high = _mm512_mask_permutexvar_epi8(high, second, code, tables[3]);
    _mm512_storeu_si512(weights, _mm512_mask_blend_epi8(highest, low, high));
  }

  JCB_INLINE void short_of(const uint8_t* codes, int64_t blocks, uint8_t* weights) const {
    alignas(64) uint8_t copy[kCodeBytes] = {};
    std::memcpy(copy, codes, static_cast<size_t>(blocks * kCodeBlock));
    operator()(copy, weights);
  }
};

struct Amx : Avx512 {
  using OfThirtyTwo = AmxWide;
  static JCB_INLINE __m512i fill_shifts(int count) { return _mm512_set1_epi32(count); }
  // A of one token out of its row of sums.
  static JCB_INLINE Words words_of_sums(const int32_t* sums, __m512i shifts) {
    return _mm512_cvtepi32_epi16(_mm512_srav_epi32(_mm512_load_si512(sums), shifts));
  }
};

struct AmxWide : Avx512Wide {
  static JCB_INLINE __m512i fill_shifts(int count) { return _mm512_set1_epi32(count); }
  static JCB_INLINE Words words_of_sums(const int32_t* sums, __m512i shifts) {
    return _mm512_packs_epi32(_mm512_srav_epi32(_mm512_load_si512(sums), shifts),
                              _mm512_srav_epi32(_mm512_load_si512(sums + 16), shifts));
  }
};

}  // namespace
}  // namespace jcb::maxsim
