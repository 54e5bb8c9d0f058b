// The AVX2 build of maxsim_quantized once more, over SIMDe.
#define JCB_SIMDE
#define prepare_queries_avx2 prepare_queries_avx2_emulated
#include "cpu/maxsim_quantized_avx2.cpp"
