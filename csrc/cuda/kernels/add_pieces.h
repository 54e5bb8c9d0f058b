// Scores of whole queries out of the scores of their pieces, added in order.
#pragma once
#include "cuda/query_layout.h"

namespace jcb::cuda {

constexpr int kAddThreads = 128;

JCB_KERNEL(kAddThreads, 4) add_pieces(const QuerySum* sums, uint32_t blocks_a_query, const float* partial_scores, float* scores) {
  const QuerySum sum = sums[blockIdx.x / blocks_a_query];
  const uint32_t stride = blocks_a_query * kAddThreads;
  for (uint32_t i = blockIdx.x % blocks_a_query * kAddThreads + threadIdx.x; i < sum.count; i += stride) {
    float score = 0.0f;
    for (uint32_t piece = 0; piece < sum.pieces; ++piece) {
      score += partial_scores[sum.first_partial + static_cast<uint64_t>(piece) * sum.count + i];
    }
    scores[sum.output + i] = score;
  }
}

}  // namespace jcb::cuda
