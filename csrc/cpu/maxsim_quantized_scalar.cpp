// maxsim_quantized for any processor.
#include "cpu/simd_scalar.h"

#include "cpu/maxsim_quantized_exact_loops.h"
#include "cpu/maxsim_quantized_loops.h"
#include "cpu/maxsim_quantized_score_tables.h"
#include "cpu/word_table_loops.h"

namespace jcb {

const maxsim::Kernels& maxsim_kernels_scalar() {
  using namespace maxsim;
  static const Kernels kernels{4, {0, false}, score_fast<Scalar>, score_exact<Scalar>,
                               largest_sizes<Scalar>, convert_scores<Scalar>, word_loops<Scalar>()};
  return kernels;
}

}  // namespace jcb
