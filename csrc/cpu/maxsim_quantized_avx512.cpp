// maxsim_quantized for AVX-512 with VNNI: called only where the processor has them.
#include "cpu/simd_avx512.h"

#include "cpu/maxsim_quantized_exact_loops.h"
#include "cpu/maxsim_quantized_loops.h"
#include "cpu/maxsim_quantized_score_tables.h"
#include "cpu/word_table_loops.h"

namespace jcb {

const maxsim::Kernels& maxsim_kernels_avx512() {
  using namespace maxsim;
  // vpdpbusd adds in i32 and never saturates: weights take all 8 bits.
  static constexpr DotLimits limits{.largest_weight = 255, .chained = false, .packed_columns = true};
  static const Kernels kernels{2, limits, score_fast<Avx512>, score_exact<Avx512>,
                               largest_sizes<Avx512>, convert_scores<Avx512>, word_loops<Avx512>()};
  return kernels;
}

}  // namespace jcb
