// The AVX-512 build of maxsim_quantized, over SIMDe.
#define JCB_SIMDE
#define prepare_queries_avx512 prepare_queries_avx512_emulated
#include "cpu/maxsim_quantized_avx512.cpp"
