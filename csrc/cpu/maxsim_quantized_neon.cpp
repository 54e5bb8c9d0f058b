// maxsim_quantized for ARM with dot products: called only where the processor has them.
#include "cpu/simd_neon.h"

#include "cpu/maxsim_quantized_exact_loops.h"
#include "cpu/maxsim_quantized_loops.h"
#include "cpu/maxsim_quantized_score_tables.h"
#include "cpu/word_table_loops.h"

namespace jcb {

const maxsim::Kernels& maxsim_kernels_neon() {
  using namespace maxsim;
  // sdot adds in i32 and never saturates: weights take all 8 bits, less 128 where they are stored.
  static const Kernels kernels{4, {255, false, 128}, score_fast<Neon>, score_exact<Neon>,
                               largest_sizes<Neon>, convert_scores<Neon>, word_loops<Neon>()};
  return kernels;
}

}  // namespace jcb
