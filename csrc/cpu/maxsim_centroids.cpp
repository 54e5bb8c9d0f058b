// MaxSim in which every token is its centroid: a gather of score rows, and their maxima.
#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "cpu/candidates.h"
#include "cpu/vector_kernels.h"
#include "jcb/maxsim_store.h"
#include "jcb/read_ahead.h"

namespace jcb {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr int64_t kIdsPerStep = 256;

// Copies ids and checks the copies: a file that changes under our feet cannot get between the check and the use.
void copy_ids(const SegmentView& segment, int64_t first, int64_t count, int64_t centroid_count, uint32_t* ids) {
  if (segment.centroid_ids_16 != nullptr) {
    std::copy_n(segment.centroid_ids_16 + first, count, ids);
  } else {
    std::copy_n(segment.centroid_ids_32 + first, count, ids);
  }
  uint32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, ids[i]);
  if (largest >= centroid_count) {
    throw CorruptIndex("a token names centroid " + std::to_string(largest) + " of a codec that has " +
                       std::to_string(centroid_count) + ": centroid_ids are damaged; run `jcb-index verify`");
  }
}

}  // namespace

void maxsim_centroids(const Machine& machine, const StoreView& store, const float* table, int64_t query_tokens,
                      const int64_t* query_offsets, int64_t query_count, const Candidates& candidates, float* scores) {
  read_ahead_centroid_ids(machine, store, query_count, candidates);
  const auto score_block = [&](const SegmentView& segment, int64_t query, const uint32_t* documents, int64_t count,
                               float* block_scores) {
    const int64_t first_column = query_offsets[query], columns = query_offsets[query + 1] - first_column;
    if (columns == 0) return score_empty_query(segment, documents, count, block_scores);
    std::vector<float> best(columns);
    for (int64_t i = 0; i < count; ++i) {
      const TokenRange tokens = tokens_of(segment, documents[i]);
      std::fill(best.begin(), best.end(), kMinusInfinity);
      for (int64_t t = tokens.first; t < tokens.last; t += kIdsPerStep) {
        uint32_t ids[kIdsPerStep];
        const int64_t id_count = std::min(kIdsPerStep, tokens.last - t);
        copy_ids(segment, t, id_count, store.codec.centroid_count, ids);
        machine.kernels.max_table_rows(table + first_column, query_tokens, ids, id_count, columns, best.data());
      }
      float sum = 0.0f;
      for (const float value : best) sum += value;
      block_scores[i] = sum;
    }
  };
  score_candidates(machine.pool, store, query_count, candidates, score_block, scores);
}

}  // namespace jcb
