// The portable baseline: four lanes, which every x86-64 and every ARMv8 processor has; elsewhere the compiler
// makes plain loops of them.
#define JCB_SET portable
#define JCB_LANES 4
#define JCB_TILE_ROWS 6
#include "cpu/vector_kernels_impl.h"

namespace jcb {

const VectorKernels& vector_kernels_scalar() { return portable::kKernels; }

}  // namespace jcb
