// The NEON build of maxsim_quantized once more, over SIMDe.
#define JCB_SIMDE
#define prepare_queries_neon prepare_queries_neon_emulated
#include "cpu/maxsim_quantized_neon.cpp"
