// AVX2 and FMA.
#define JCB_SET avx2
#define JCB_LANES 8
#define JCB_TILE_ROWS 6
#include "cpu/vector_kernels_impl.h"

namespace jcb {

const VectorKernels& vector_kernels_avx2() { return avx2::kKernels; }

}  // namespace jcb
