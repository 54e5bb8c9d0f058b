// AVX2 and FMA.
#define JCB_SET avx2
#define JCB_LANES 8
#include "cpu/vector_kernels_impl.h"

namespace jcb {

const VectorKernels& vector_kernels_avx2() { return avx2::kKernels; }

}  // namespace jcb
