// NEON of Armv8.2-A: the lanes of the baseline, and larger tiles, since it has 32 registers. 16 accumulators keep four
// units of four cycles busy (Neoverse V1, Apple); with 24, g++ 12 spills.
#define JCB_SET neon
#define JCB_LANES 4
#define JCB_TILE_ROWS 8
#include "cpu/vector_kernels_impl.h"

namespace jcb {

const VectorKernels& vector_kernels_neon() { return neon::kKernels; }

}  // namespace jcb
