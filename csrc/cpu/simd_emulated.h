// SIMDe in place of <immintrin.h>: AVX2 and AVX-512 in portable C, for tests on processors that lack them.
#pragma once
#include <math.h>  // before SIMDe, which looks for its macros

#define SIMDE_NO_NATIVE
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>
