// The loops of vector_kernels as NEON has them, four lanes in tiles of eight rows, compiled for any processor.
#define JCB_SET narrow
#define JCB_LANES 4
#define JCB_TILE_ROWS 8
#include "cpu/vector_kernels_impl.h"

namespace jcb::tests {

const VectorKernels& vector_kernels_narrow() { return narrow::kKernels; }

}  // namespace jcb::tests
