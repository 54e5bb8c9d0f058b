// maxsim_quantized for any processor.
#include "cpu/simd_scalar.h"

#include "cpu/maxsim_quantized_exact_loops.h"
#include "cpu/maxsim_quantized_loops.h"
#include "cpu/maxsim_quantized_score_tables.h"

namespace jcb {

std::unique_ptr<PreparedQueries> prepare_queries_scalar(const CodecView& codec, const float* queries,
                                                        const int64_t* query_offsets, int64_t query_count,
                                                        const float* centroid_scores) {
  using namespace maxsim;
  static const Kernels kernels{false, {0, false}, score_fast<Scalar>, score_exact<Scalar>,
                               largest_sizes<Scalar>, convert_scores<Scalar>};
  return prepare(kernels, codec, queries, query_offsets, query_count, centroid_scores);
}

}  // namespace jcb
