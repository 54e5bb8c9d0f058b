// maxsim_quantized for AMX: called only where the processor has it and the system has granted it.
#include "cpu/simd_amx.h"

#include "cpu/maxsim_quantized_tile_loops.h"

namespace jcb {

const maxsim::Kernels& maxsim_kernels_amx() {
  using namespace maxsim;
  static const Kernels kernels = [] {
    Kernels same = maxsim_kernels_avx512();
    same.least_dot_bits = 1;
    same.dot.tiled = true;
    same.fast = score_fast_by_tiles<Amx>;
    return same;
  }();
  return kernels;
}

}  // namespace jcb
