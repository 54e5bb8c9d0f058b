// maxsim_quantized for ARM with dot products: called only where the processor has them.
#include "cpu/simd_neon.h"

#include "cpu/maxsim_quantized_exact_loops.h"
#include "cpu/maxsim_quantized_loops.h"
#include "cpu/maxsim_quantized_score_tables.h"

namespace jcb {

std::unique_ptr<PreparedQueries> prepare_queries_neon(const CodecView& codec, const float* queries,
                                                      const int64_t* query_offsets, int64_t query_count,
                                                      const float* centroid_scores) {
  using namespace maxsim;
  // sdot adds in i32 and never saturates: weights take all 8 bits, less 128 where they are stored.
  static const Kernels kernels{false, {255, false, 128}, score_fast<Neon>, score_exact<Neon>,
                               largest_sizes<Neon>, convert_scores<Neon>};
  return prepare(kernels, codec, queries, query_offsets, query_count, centroid_scores);
}

}  // namespace jcb
