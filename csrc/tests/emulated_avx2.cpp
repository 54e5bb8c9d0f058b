// The AVX2 build of maxsim_quantized once more, over SIMDe.
#define JCB_SIMDE
#define maxsim_kernels_avx2 maxsim_kernels_avx2_emulated
#include "cpu/maxsim_quantized_avx2.cpp"
