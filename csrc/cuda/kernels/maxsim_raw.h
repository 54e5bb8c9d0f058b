// MaxSim of one piece over raw fp16 vectors: the products of maxsim_batch.h with the order of work of maxsim_fast.h.
//
// A warp scores whole documents. Tiles are operand A of multiply_f16 as they lie, copied ahead by a ring as in
// maxsim_fast.h; the query, rounded to fp16 in steps of its token, stays in registers. Sums and maxima are fp32. What
// limits it is memory: 2 bytes a dimension, read once.
#pragma once
#include "cuda/kernels/float_maxima.h"
#include "cuda/kernels/maxsim_fast.h"

namespace jcb::cuda {

template <int kBlocks>
JCB_KERNEL(kFastThreads, 4) maxsim_raw(Work work, Queries queries, int any_blocks, float* __restrict__ partial_scores) {
  using Shape = FastShape<kRawBits, kBlocks>;
  const Shape shape(any_blocks);
  const int lane = threadIdx.x % kWarpLanes, warp = threadIdx.x / kWarpLanes;
  const uint32_t blocks_a_piece = gridDim.x / queries.piece_count;
  const uint32_t piece_number = blockIdx.x / blocks_a_piece;
  const Piece piece = queries.pieces[piece_number];

  char* const rings = dynamic_shared();
  const FastQuery<Shape> query(
      queries.halves + static_cast<size_t>(piece_number) * shape.steps() * kColumnTiles * kWarpLanes,
      rings + kFastWarps * Shape::kStages * shape.bytes(), shape);
  const Share share = share_of(work, piece, (blockIdx.x % blocks_a_piece) * kFastWarps + warp,
                               blocks_a_piece * kFastWarps);
  char* const slots = rings + warp * Shape::kStages * shape.bytes();
  TileRing<Shape> ring{work, shape, slots, lane, share.first, share.last, 0, work.tiles};
  for (int i = 0; i < Shape::kStages - 1; ++i) ring.fetch();

  FloatMaxima maxima;
  const float* const steps = queries.steps + static_cast<size_t>(piece_number) * kColumns + lane % 4 * 8;
  for (uint32_t item = share.first; item < share.last; ++item) {
    const uint32_t tiles = tiles_of(work, item);
    maxima.clear();
    for (uint32_t i = 0; i < tiles; ++i) {
      const TileWords<Shape> words(ring.next(), lane, shape);
      ring.fetch();
      float sums[kColumnTiles][4] = {};
#pragma unroll
      for (int step = 0; step < shape.steps(); ++step) {
        uint32_t a[4];
        words.read(step, a);
#pragma unroll
        for (int n = 0; n < kColumnTiles; ++n) multiply_f16(sums[n], a, query.at(step, n).x, query.at(step, n).y);
      }
      maxima.take(sums);
    }
    const float score = maxima.score(steps);
    if (lane == 0) partial_scores[piece.output + (item - piece.first_item)] = tiles == 0 ? kMinusInfinity : score;
  }
}

}  // namespace jcb::cuda
