// Products of all centroids with the tokens of every piece, in steps of the tokens, as bytes with 128 added; and as they
// are, where centroids are to be told apart.
#pragma once
#include "cuda/query_layout.h"

namespace jcb::cuda {

constexpr int kCentroidThreads = 128;

// tiles: [rows / 16][2 blocks][lane]: centroids in fp16 as operand A of multiply_f16. scores: what Queries calls so.
// products: null, or [pieces][32 tokens][rows].
struct CentroidScores {
  const uint4* tiles;
  const uint2* halves;
  uint8_t* scores;
  uint32_t row_tiles;
  int steps;  // of 16 dimensions
  uint32_t blocks_a_piece;
  float* products;
};

JCB_DEVICE uint32_t score_byte(float score) {
  return static_cast<uint32_t>(static_cast<int>(fminf(fmaxf(rintf(score), -127.0f), 127.0f)) + 128);
}

// A warp takes a tile of centroids at a time.
JCB_KERNEL(kCentroidThreads, 4) centroid_scores(CentroidScores given) {
  const int lane = threadIdx.x % kWarpLanes, warp = threadIdx.x / kWarpLanes, warps = kCentroidThreads / kWarpLanes;
  const uint32_t piece = blockIdx.x / given.blocks_a_piece, block = blockIdx.x % given.blocks_a_piece;
  const uint2* const halves = given.halves + static_cast<size_t>(piece) * given.steps * kColumnTiles * kWarpLanes;
  uint2* const scores =
      reinterpret_cast<uint2*>(given.scores + static_cast<size_t>(piece) * given.row_tiles * kCentroidRows * kColumns);
  for (uint32_t tile = block * warps + warp; tile < given.row_tiles; tile += given.blocks_a_piece * warps) {
    const uint4* const rows = given.tiles + static_cast<size_t>(tile) * given.steps * kWarpLanes + lane;
    float sums[kColumnTiles][4] = {};
    for (int step = 0; step < given.steps; ++step) {
      const uint4 four = rows[step * kWarpLanes];
      const uint32_t a[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
      for (int n = 0; n < kColumnTiles; ++n) {
        const uint2 b = halves[(step * kColumnTiles + n) * kWarpLanes + lane];
        multiply_f16(sums[n], a, b.x, b.y);
      }
    }
#pragma unroll
    for (int row = 0; row < 2; ++row) {  // g, then g + 8; of each the tokens 8t .. 8t + 7
      uint32_t words[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        words[half] = score_byte(sums[2 * half][2 * row]) | score_byte(sums[2 * half][2 * row + 1]) << 8 |
                      score_byte(sums[2 * half + 1][2 * row]) << 16 | score_byte(sums[2 * half + 1][2 * row + 1]) << 24;
      }
      scores[(static_cast<size_t>(tile) * kCentroidRows + lane / 4 + 8 * row) * 4 + lane % 4] = {words[0], words[1]};
      if (given.products == nullptr) continue;
      const size_t all_rows = static_cast<size_t>(given.row_tiles) * kCentroidRows;
      float* const own = given.products + static_cast<size_t>(piece) * kColumns * all_rows + tile * kCentroidRows + lane / 4 + 8 * row;
#pragma unroll
      for (int i = 0; i < 8; ++i) own[(lane % 4 * 8 + i) * all_rows] = sums[i / 2][2 * row + i % 2];
    }
  }
}

}  // namespace jcb::cuda
