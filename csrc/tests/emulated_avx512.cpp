// The AVX-512 build of maxsim_quantized, over SIMDe.
#define JCB_SIMDE
#define maxsim_kernels_avx512 maxsim_kernels_avx512_emulated
#include "cpu/maxsim_quantized_avx512.cpp"
