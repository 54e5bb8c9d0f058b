// Scores of which the best are looked for, and what becomes of these: the arguments of the kernels of select.h.
#pragma once
#include "cuda/kernels/work.h"

namespace jcb::cuda {

constexpr int kDigitPasses = 3, kDigitBins = 2048;
// Of a query: counts of each pass, and what was found in them: of each pass four words.
constexpr int kDigitWords = kDigitPasses * (kDigitBins + 4);

// Scores of some queries, [queries][stride].
struct Ranked {
  const float* scores;
  const uint32_t* counts = nullptr;  // [queries], of which at most `stride` are there; null: `count` of each
  uint64_t stride = 0;
  uint32_t count = 0;
  const uint8_t* mask = nullptr;  // bit d & 7 of byte d >> 3 allows score d; null allows all
  uint32_t* digits = nullptr;     // [queries][kDigitWords], zeros before the first pass
  const uint32_t* numbers = nullptr;  // [queries][stride]: the documents that have the scores; null: documents 0, 1 ..
  float more_than = kMinusInfinity;   // only such scores count
  int passes = kDigitPasses;          // that find the k-th: 2 where the last ten bits of all scores are zero

  JCB_DEVICE uint32_t length(uint32_t query) const {
    if (counts == nullptr) return count;
    return counts[query] < stride ? counts[query] : static_cast<uint32_t>(stride);
  }
  JCB_DEVICE bool counts_score(uint32_t i, float score) const {
    return score > more_than && (mask == nullptr || (mask[i >> 3] >> (i & 7) & 1));
  }
  JCB_DEVICE uint32_t number(uint32_t query, uint32_t i) const {
    return numbers == nullptr ? i : numbers[query * stride + i];
  }
};

// Which documents reach what was found: of others, score >= the k-th less the query's margin, or beyond it.
struct Reaching {
  const uint32_t* digits;  // [queries][kDigitWords]
  const float* margins;    // [queries]; null: none
  uint32_t* counts;        // [queries], zeros before
  uint32_t* documents;     // [queries][room]
  uint32_t room;
  float* scores = nullptr;  // [queries][room] of these documents, where wanted
  float* kths = nullptr;    // [queries], where wanted: the k-th score, -inf where there are not so many
  bool beyond = false;      // score > the k-th
};

}  // namespace jcb::cuda
