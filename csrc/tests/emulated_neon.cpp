// The NEON build of maxsim_quantized once more, over SIMDe.
#define JCB_SIMDE
#define maxsim_kernels_neon maxsim_kernels_neon_emulated
#include "cpu/maxsim_quantized_neon.cpp"
