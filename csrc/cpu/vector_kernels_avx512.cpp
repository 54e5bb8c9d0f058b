// AVX-512.
#define JCB_SET avx512
#define JCB_LANES 16
#define JCB_TILE_ROWS 12
#include "cpu/vector_kernels_impl.h"

namespace jcb {

const VectorKernels& vector_kernels_avx512() { return avx512::kKernels; }

}  // namespace jcb
