// IEEE half precision in portable code, round to nearest even. Instruction sets that convert by themselves do so for arrays.
//
// The functions have internal linkage, and use no others: each instruction set compiles its own copy.
#pragma once
#include <cstdint>

namespace jcb {

static inline float half_to_float(uint16_t half) {
  const uint32_t magnitude = half & 0x7fff, sign = static_cast<uint32_t>(half & 0x8000) << 16;
  // In the exponent field of a float the value is too small by 2^112, exactly; subnormals come right as well.
  const float finite = __builtin_bit_cast(float, magnitude << 13) * 0x1p112f;
  const uint32_t infinite = 0x7f800000 | magnitude << 13;  // infinity and NaN
  return __builtin_bit_cast(float, sign | (magnitude >= 0x7c00 ? infinite : __builtin_bit_cast(uint32_t, finite)));
}

static inline uint16_t float_to_half(float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value), magnitude = bits & 0x7fffffff;
  const uint32_t sign = bits >> 16 & 0x8000;
  uint32_t half;
  if (magnitude > 0x7f800000) {
    half = 0x7e00;  // NaN
  } else if (magnitude >= 0x477ff000) {
    half = 0x7c00;  // 65520 and more round to infinity
  } else if (magnitude < 0x38800000) {
    // Below the smallest normal half. The last place of 0.5 is 2^-24, the step of subnormal halves: the addition rounds.
    half = __builtin_bit_cast(uint32_t, __builtin_bit_cast(float, magnitude) + 0.5f) - 0x3f000000;
  } else {
    half = (magnitude + 0xfff + (magnitude >> 13 & 1) - 0x38000000) >> 13;
  }
  return static_cast<uint16_t>(sign | half);
}

}  // namespace jcb
