// Maxima in fp32 of the sums that multiply_f16 makes, over the tokens of a document.
#pragma once
#include "cuda/kernels/work.h"
#include "cuda/query_layout.h"

namespace jcb::cuda {

// One piece's maxima of the document in work.
struct FloatMaxima {
  float maxima[kColumnTiles][2];  // pair n: the tokens 8t + 2n and 8t + 2n + 1

  JCB_DEVICE void clear() {
#pragma unroll
    for (auto& pair : maxima) pair[0] = pair[1] = kMinusInfinity;
  }
  JCB_DEVICE void take(const float (&sums)[kColumnTiles][4]) {
#pragma unroll
    for (int n = 0; n < kColumnTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) maxima[n][i] = fmaxf(maxima[n][i], fmaxf(sums[n][i], sums[n][i + 2]));
    }
  }
  // The document's score, for every lane. steps: of the tokens 8t and on.
  JCB_DEVICE float score(const float* steps) {
    float sum = 0.0f;
#pragma unroll
    for (int n = 0; n < kColumnTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float largest = maxima[n][i];
        for (int bits = 4; bits < kWarpLanes; bits *= 2) largest = fmaxf(largest, shuffle_xor(largest, bits));
        sum = fmaf(largest, steps[2 * n + i], sum);
      }
    }
    sum += shuffle_xor(sum, 1);
    return sum + shuffle_xor(sum, 2);
  }
};

}  // namespace jcb::cuda
