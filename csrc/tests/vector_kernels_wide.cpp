// The loops of vector_kernels in registers of sixteen lanes, as AVX-512 has them, compiled for any processor: the
// compiler makes several narrow instructions of each wide one.
#pragma GCC diagnostic ignored "-Wpsabi"  // about calls between files; these functions are all inlined
#define JCB_SET wide
#define JCB_LANES 16
#define JCB_TILE_ROWS 12
#include "cpu/vector_kernels_impl.h"

namespace jcb::tests {

const VectorKernels& vector_kernels_wide() { return wide::kKernels; }

}  // namespace jcb::tests
