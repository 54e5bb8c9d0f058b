// The AMX build of maxsim_quantized, over SIMDe and an emulated tile unit.
#define JCB_SIMDE
#define maxsim_kernels_avx512 maxsim_kernels_avx512_emulated
#define maxsim_kernels_amx maxsim_kernels_amx_emulated
#include "cpu/maxsim_quantized_amx.cpp"
