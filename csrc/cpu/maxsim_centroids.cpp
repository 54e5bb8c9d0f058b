// MaxSim in which every token is its centroid: a gather of score rows, and their maxima.
#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "cpu/candidates.h"
#include "cpu/maxsim_quantized.h"
#include "cpu/vector_kernels.h"
#include "cpu/word_table.h"
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

// Calls take(ids, count) for the tokens of a document, some at a time.
template <class Take>
void for_ids(const SegmentView& segment, TokenRange tokens, int64_t centroid_count, const Take& take) {
  for (int64_t t = tokens.first; t < tokens.last; t += kIdsPerStep) {
    uint32_t ids[kIdsPerStep];
    const int64_t count = std::min(kIdsPerStep, tokens.last - t);
    copy_ids(segment, t, count, centroid_count, ids);
    take(ids, count);
  }
}

void score_by_floats(const Machine& machine, const StoreView& store, const float* table, int64_t stride,
                     int64_t columns, const SegmentView& segment, const uint32_t* documents, int64_t count,
                     float* scores) {
  std::vector<float> best(columns);
  for (int64_t i = 0; i < count; ++i) {
    std::fill(best.begin(), best.end(), kMinusInfinity);
    for_ids(segment, tokens_of(segment, documents[i]), store.codec.centroid_count, [&](const uint32_t* ids, int64_t n) {
      machine.kernels.max_table_rows(table, stride, ids, n, columns, best.data());
    });
    float sum = 0.0f;
    for (const float value : best) sum += value;
    scores[i] = sum;
  }
}

void score_by_words(const StoreView& store, const maxsim::WordTable& table, int64_t first,
                    int64_t columns, const SegmentView& segment, const uint32_t* documents, int64_t count,
                    float* scores) {
  std::vector<int16_t> best((columns + 31) / 32 * 32);
  for (int64_t i = 0; i < count; ++i) {
    const TokenRange tokens = tokens_of(segment, documents[i]);
    if (tokens.count() == 0) {
      scores[i] = kMinusInfinity;
      continue;
    }
    std::fill(best.begin(), best.end(), std::numeric_limits<int16_t>::min());
    for_ids(segment, tokens, store.codec.centroid_count, [&](const uint32_t* ids, int64_t n) {
      table.loops().max_rows(table.row(0) + first, table.stride(), ids, n, columns, best.data());
    });
    float sum = 0.0f;
    for (int64_t c = 0; c < columns; ++c) sum += table.step(first + c) * best[c];
    scores[i] = sum;
  }
}

}  // namespace

void maxsim_centroids(const Machine& machine, const StoreView& store, const CentroidTable& table,
                      const int64_t* query_offsets, int64_t query_count, const Candidates& candidates, float* scores) {
  read_ahead_centroid_ids(machine, store, query_count, candidates);
  const CentroidScoreView view = table.view();
  const auto score_block = [&](const SegmentView& segment, int64_t query, const uint32_t* documents, int64_t count,
                               float* block_scores) {
    const int64_t first = query_offsets[query], columns = query_offsets[query + 1] - first;
    if (columns == 0) return score_empty_query(segment, documents, count, block_scores);
    if (view.words != nullptr) {
      score_by_words(store, *view.words, first, columns, segment, documents, count, block_scores);
    } else {
      score_by_floats(machine, store, view.table + first, table.tokens(), columns, segment, documents, count,
                      block_scores);
    }
  };
  score_candidates(machine.pool, store, query_count, candidates, score_block, scores);
}

}  // namespace jcb
