// MaxSim over stored fp16 vectors.
#include <algorithm>
#include <limits>
#include <vector>

#include "cpu/candidates.h"
#include "cpu/panels.h"
#include "jcb/maxsim_store.h"
#include "jcb/read_ahead.h"

namespace jcb {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
// Decoded rows that are kept while the panels pass: a multiple of every tile height, 24 KB at 128 dimensions.
constexpr int64_t kRowsPerStep = 48;

}  // namespace

void maxsim_raw(const Machine& machine, const StoreView& store, const float* queries, const int64_t* query_offsets,
                int64_t query_count, const Candidates& candidates, float* scores) {
  read_ahead_codes(machine, store, query_count, candidates);
  const VectorKernels& kernels = machine.kernels;
  const int64_t dim = store.codec.dim;
  std::vector<Panels> panels;
  for (int64_t q = 0; q < query_count; ++q) {
    panels.emplace_back(kernels, queries + query_offsets[q] * dim, query_offsets[q + 1] - query_offsets[q], dim);
  }
  const auto score_block = [&](const SegmentView& segment, int64_t query, const uint32_t* documents, int64_t count,
                               float* block_scores) {
    const int64_t columns = query_offsets[query + 1] - query_offsets[query];
    if (columns == 0) return score_empty_query(segment, documents, count, block_scores);
    const FloatBuffer rows(kRowsPerStep * dim);
    std::vector<float> best(panels[query].columns());
    const auto* bits = reinterpret_cast<const uint16_t*>(segment.codes);
    for (int64_t i = 0; i < count; ++i) {
      const TokenRange tokens = tokens_of(segment, documents[i]);
      std::fill(best.begin(), best.end(), kMinusInfinity);
      for (int64_t t = tokens.first; t < tokens.last; t += kRowsPerStep) {
        const int64_t row_count = std::min(kRowsPerStep, tokens.last - t);
        kernels.half_to_float(bits + t * dim, row_count * dim, store.codec.norm_scale, rows.data());
        kernels.max_inner_products(rows.data(), row_count, panels[query].data(), panels[query].count(), dim,
                                   best.data());
      }
      float sum = 0.0f;
      for (int64_t c = 0; c < columns; ++c) sum += best[c];
      block_scores[i] = sum;
    }
  };
  score_candidates(machine.pool, store, query_count, candidates, score_block, scores);
}

}  // namespace jcb
