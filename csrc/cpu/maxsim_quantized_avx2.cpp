// maxsim_quantized for AVX2: compiled with -mavx2 -mfma -mf16c, called only where the processor has them.
#include "cpu/simd_avx2.h"

#include "cpu/maxsim_quantized_exact_loops.h"
#include "cpu/maxsim_quantized_loops.h"
#include "cpu/maxsim_quantized_score_tables.h"
#include "cpu/word_table_loops.h"

namespace jcb {

const maxsim::Kernels& maxsim_kernels_avx2() {
  using namespace maxsim;
  // vpmaddubsw would allow weights up to 129; with 96 the chains leave the query almost all of its 7 bits.
  static const Kernels kernels{4, {96, true}, score_fast<Avx2>, score_exact<Avx2>,
                               largest_sizes<Avx2>, convert_scores<Avx2>, word_loops<Avx2>()};
  return kernels;
}

}  // namespace jcb
