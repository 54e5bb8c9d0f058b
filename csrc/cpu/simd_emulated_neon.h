// SIMDe in place of <arm_neon.h>: NEON in portable C, for tests on processors that are not ARM's. SIMDe 0.7.4 adds a
// product in two roundings where the processor has one, and lacks two conversions: those stand here.
#pragma once
#include <math.h>  // before SIMDe, which looks for its macros

#define SIMDE_NO_NATIVE
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/arm/neon.h>

#include <cstdint>

#include "jcb/half.h"

namespace jcb::maxsim {
namespace {

inline float32x4_t emulated_fma(float32x4_t sum, float32x4_t a, float32x4_t b) {
  float sums[4], left[4], right[4];
  vst1q_f32(sums, sum), vst1q_f32(left, a), vst1q_f32(right, b);
  for (int i = 0; i < 4; ++i) sums[i] = fmaf(left[i], right[i], sums[i]);
  return vld1q_f32(sums);
}
inline int32x4_t emulated_nearest(float32x4_t value) {
  float values[4];
  int32_t rounded[4];
  vst1q_f32(values, value);
  for (int i = 0; i < 4; ++i) rounded[i] = static_cast<int32_t>(lrintf(values[i]));
  return vld1q_s32(rounded);
}
inline float32x4_t emulated_halves(uint16x4_t bits) {
  uint16_t halves[4];
  float values[4];
  vst1_u16(halves, bits);
  for (int i = 0; i < 4; ++i) values[i] = half_to_float(halves[i]);
  return vld1q_f32(values);
}

}  // namespace
}  // namespace jcb::maxsim

#undef vfmaq_f32
#undef vcvt_f32_f16
#undef vreinterpret_f16_u16
#define vfmaq_f32 jcb::maxsim::emulated_fma
#define vcvtnq_s32_f32 jcb::maxsim::emulated_nearest
#define vcvt_f32_f16 jcb::maxsim::emulated_halves
#define vreinterpret_f16_u16(bits) (bits)
