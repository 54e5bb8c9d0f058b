// Of many documents the few that are worth their codes: MaxSim in which every token is its centroid, of lists that the
// device made.
#pragma once
#include "cuda/kernels/look_up.h"
#include "cuda/kernels/work.h"
#include "cuda/query_layout.h"

namespace jcb::cuda {

constexpr int kNarrowWarps = 4, kNarrowThreads = kNarrowWarps * kWarpLanes;
constexpr int kTilesAhead = 4;  // of which centroid ids, and then scores, are on their way together

// The largest score of each query token among a document's tokens: lane 2r + h has tile row r, and of it the query tokens
// 16 h .. 16 h + 15. All lanes get the sum over the piece's tokens, in what steps are.
JCB_DEVICE float centroid_score(const Queries& queries, uint32_t piece, const TileShape& shape, const char* tile,
                                uint32_t tiles) {
  const int lane = threadIdx.x % kWarpLanes, row = lane / 2, half = lane % 2;
  const uint4* const scores = reinterpret_cast<const uint4*>(queries.scores) +
                              static_cast<size_t>(piece) * queries.centroid_rows * 2 + half;
  const char* id = tile + shape.code_bytes() + row % 8 * 16 + row / 8 * 8;
  uint32_t maxima[8];
#pragma unroll
  for (uint32_t& pair : maxima) pair = 0xfc00fc00;  // -inf twice
  for (uint32_t first = 0; first < tiles; first += kTilesAhead) {
    uint32_t ids[kTilesAhead];
    uint4 rows[kTilesAhead];
#pragma unroll
    for (int i = 0; i < kTilesAhead; ++i) {  // beyond the last tile: that one again
      const uint32_t own = first + i < tiles ? first + i : tiles - 1;
      ids[i] = *reinterpret_cast<const uint32_t*>(id + static_cast<size_t>(own) * shape.bytes());
    }
#pragma unroll
    for (int i = 0; i < kTilesAhead; ++i) rows[i] = scores[static_cast<size_t>(ids[i]) * 2];
#pragma unroll
    for (int i = 0; i < kTilesAhead; ++i) {
      const uint32_t words[4] = {rows[i].x, rows[i].y, rows[i].z, rows[i].w};
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        maxima[2 * w] = pair_maximum(maxima[2 * w], halves_of_bytes(words[w], 0x4140));
        maxima[2 * w + 1] = pair_maximum(maxima[2 * w + 1], halves_of_bytes(words[w], 0x4342));
      }
    }
  }
#pragma unroll
  for (int bits = 2; bits < kWarpLanes; bits *= 2) {
#pragma unroll
    for (uint32_t& pair : maxima) pair = pair_maximum(pair, shuffle_xor(pair, bits));
  }
  const float* const steps = queries.steps + piece * kColumns + half * 16;
  float sum = 0.0f;
#pragma unroll
  for (int pair = 0; pair < 8; ++pair) {
    sum = fmaf(low_of(maxima[pair]), steps[2 * pair], sum);
    sum = fmaf(high_of(maxima[pair]), steps[2 * pair + 1], sum);
  }
  return sum + shuffle_xor(sum, 1);
}

// work: of all documents of the store. scores: [queries][room].
JCB_KERNEL(kNarrowThreads, 8) maxsim_centroid_lists(Work work, TileShape shape, Queries queries, DocumentLists lists,
                                                    uint32_t blocks_a_query, float* scores) {
  const int lane = threadIdx.x % kWarpLanes, warp = threadIdx.x / kWarpLanes;
  const uint32_t query = blockIdx.x / blocks_a_query, length = length_of(lists, query);
  for (uint32_t i = blockIdx.x % blocks_a_query * kNarrowWarps + warp; i < length; i += blocks_a_query * kNarrowWarps) {
    const size_t place = static_cast<size_t>(query) * lists.room + i;
    const uint32_t document = lists.documents[place], tiles = tiles_of(work, document);
    const char* const tile = work.tiles + work.first_tiles[document] * shape.bytes();
    float sum = tiles == 0 ? kMinusInfinity : 0.0f;
    for (uint32_t piece = lists.first_pieces[query]; tiles != 0 && piece < lists.first_pieces[query + 1]; ++piece) {
      sum += centroid_score(queries, piece, shape, tile, tiles);
    }
    if (lane == 0) scores[place] = sum;
  }
}

}  // namespace jcb::cuda
