// SIMDe in place of <immintrin.h>: AVX2 and AVX-512 in portable C, for tests on processors that lack them. SIMDe 0.7.4
// lacks some operations, adds a product in two roundings where the processor has one, and reads whole registers under a
// mask: those stand here.
#pragma once
#include <math.h>  // before SIMDe, which looks for its macros

#define SIMDE_NO_NATIVE
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>

#include <cstdint>
#include <cstring>

#include "jcb/half.h"

namespace jcb::maxsim {
namespace {

// result lane i = operation(i) for the lanes of a register.
template <class Register, class Lane, class Operation>
Register emulate(const Operation& operation) {
  Lane lanes[sizeof(Register) / sizeof(Lane)];
  for (size_t i = 0; i < sizeof(Register) / sizeof(Lane); ++i) lanes[i] = operation(i);
  Register result;
  std::memcpy(&result, lanes, sizeof(result));
  return result;
}

template <class Lane, class Register>
Lane lane_of(const Register& value, size_t i) {
  Lane lane;
  std::memcpy(&lane, reinterpret_cast<const char*>(&value) + i * sizeof(lane), sizeof(lane));
  return lane;
}

template <class Register>
Register emulated_fmadd(Register a, Register b, Register c) {
  return emulate<Register, float>(
      [&](size_t i) { return fmaf(lane_of<float>(a, i), lane_of<float>(b, i), lane_of<float>(c, i)); });
}
inline simde__m256 emulated_maskload(const float* from, simde__m256i mask) {
  return emulate<simde__m256, float>([&](size_t i) { return lane_of<int32_t>(mask, i) < 0 ? from[i] : 0.0f; });
}
inline simde__m512 emulated_maskz_loadu(uint16_t mask, const float* from) {
  return emulate<simde__m512, float>([&](size_t i) { return mask >> i & 1 ? from[i] : 0.0f; });
}
inline simde__m512i emulated_sra(simde__m512i a, simde__m128i count) {
  return emulate<simde__m512i, int32_t>([&](size_t i) { return lane_of<int32_t>(a, i) >> lane_of<int32_t>(count, 0); });
}
inline simde__m512 emulated_halves(simde__m256i bits) {
  return emulate<simde__m512, float>([&](size_t i) { return half_to_float(lane_of<uint16_t>(bits, i)); });
}
inline simde__m512i emulated_nearest(simde__m512 a) {
  return emulate<simde__m512i, int32_t>([&](size_t i) { return static_cast<int32_t>(lrintf(lane_of<float>(a, i))); });
}
inline simde__m512i emulated_srav(simde__m512i a, simde__m512i counts) {
  return emulate<simde__m512i, int32_t>(
      [&](size_t i) { return lane_of<int32_t>(a, i) >> lane_of<int32_t>(counts, i); });
}
inline simde__m256i emulated_narrow(simde__m512i a) {
  return emulate<simde__m256i, int16_t>([&](size_t i) { return static_cast<int16_t>(lane_of<int32_t>(a, i)); });
}
inline simde__m256 emulated_extract(simde__m512 a, size_t half) {
  return emulate<simde__m256, float>([&](size_t i) { return lane_of<float>(a, 8 * half + i); });
}

}  // namespace
}  // namespace jcb::maxsim

#undef _mm256_fmadd_ps
#undef _mm512_fmadd_ps
#undef _mm256_maskload_ps
#define _mm256_fmadd_ps jcb::maxsim::emulated_fmadd
#define _mm512_fmadd_ps jcb::maxsim::emulated_fmadd
#define _mm256_maskload_ps jcb::maxsim::emulated_maskload
#define _mm512_maskz_loadu_ps jcb::maxsim::emulated_maskz_loadu
#define _mm512_sra_epi32 jcb::maxsim::emulated_sra
#define _mm512_cvtph_ps jcb::maxsim::emulated_halves
#define _mm512_cvtps_epi32 jcb::maxsim::emulated_nearest
#define _mm512_srav_epi32 jcb::maxsim::emulated_srav
#define _mm512_cvtepi32_epi16 jcb::maxsim::emulated_narrow
#define _mm512_extractf32x8_ps jcb::maxsim::emulated_extract
