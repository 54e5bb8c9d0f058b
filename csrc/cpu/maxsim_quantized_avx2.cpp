// maxsim_quantized for AVX2: compiled with -mavx2 -mfma -mf16c, called only where the processor has them.
#include "cpu/simd_avx2.h"

#include "cpu/maxsim_quantized_exact_loops.h"
#include "cpu/maxsim_quantized_loops.h"
#include "cpu/maxsim_quantized_score_tables.h"

namespace jcb {

std::unique_ptr<PreparedQueries> prepare_queries_avx2(const CodecView& codec, const float* queries,
                                                      const int64_t* query_offsets, int64_t query_count,
                                                      const float* centroid_scores) {
  using namespace maxsim;
  // vpmaddubsw would allow weights up to 129; with 96 the chains leave the query almost all of its 7 bits.
  static const Kernels kernels{false, {96, true}, score_fast<Avx2>, score_exact<Avx2>,
                               largest_sizes<Avx2>, convert_scores<Avx2>};
  return prepare(kernels, codec, queries, query_offsets, query_count, centroid_scores);
}

}  // namespace jcb
