// MaxSim for many queries over the same documents: tokens are decoded once for eight pieces of queries.
//
// A block's eight warps have a piece each, in registers, and take turns at decoding: in every round each warp decodes one
// tile into shared memory, as operand A of multiply_f16, and then multiplies the eight tiles of the round before with its
// own piece. Unlike in maxsim_fast.h, centroids are added before the products: 2 bytes a dimension for all eight pieces
// instead of 32 bytes a token for each. Raw tiles are that operand already, and are copied instead. Sums and maxima are
// fp32. What limits it is the matrix units.
#pragma once
#include "cuda/kernels/float_maxima.h"
#include "cuda/kernels/look_up.h"
#include "cuda/kernels/work.h"
#include "cuda/query_layout.h"

namespace jcb::cuda {

constexpr int kBatchWarps = 8, kBatchThreads = kBatchWarps * kWarpLanes;
constexpr int kMostBatchBlocks = 4;  // of 32 dimensions: a piece is then 64 registers

constexpr size_t batch_shared_bytes(const TileShape& tile) {
  const size_t decoded = static_cast<size_t>(2 * tile.blocks) * kWarpLanes * sizeof(uint4);
  return kBatchWarps * (2 * decoded + (tile.bits == kRawBits ? 0 : tile.bytes()));
}

// Levels in fp16, byte by byte. Of 8 bits tiles have integers instead, of which these are so many units.
template <int kBits>
struct HalfTable {
  ByteTable upper, lower;

  JCB_DEVICE explicit HalfTable(const uint32_t* from) : upper(from), lower(from + 4) {}
  // What a token's levels are multiplied with, twice.
  JCB_DEVICE uint32_t scale(uint32_t norm_twice, uint32_t scalars) const {
    return pair_multiply(norm_twice, high_twice(scalars));
  }
};
template <>
struct HalfTable<kByteBits> {
  float unit;

  JCB_DEVICE explicit HalfTable(const uint32_t* from) : unit(float_of_bits(from[0])) {}
  JCB_DEVICE uint32_t scale(uint32_t, uint32_t scalars) const {
    const float product = low_of(scalars) * high_of(scalars) * unit;
    return pair_of(product, product);
  }
};
template <>
struct HalfTable<kRawBits> {
  JCB_DEVICE explicit HalfTable(const uint32_t*) {}
};

// Levels in fp16 of a block's codes: of each token (row) of the lane eight, as pairs in the order of half operands.
template <int kBits>
JCB_DEVICE void look_up_halves(const char* tile, const TileShape& shape, int lane, int block,
                               const HalfTable<kBits>& table, uint32_t (&pairs)[2][4]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const uint32_t word = *reinterpret_cast<const uint32_t*>(tile + shape.place_of(word_of_code(kBits, block, half), lane));
    uint32_t upper[2], lower[2];
    look_up_word<kBits>(word, shift_of_code(kBits, block, half), table.upper, upper);
    look_up_word<kBits>(word, shift_of_code(kBits, block, half), table.lower, lower);
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      pairs[row][2 * half] = permute_bytes(upper[row], lower[row], 0x1504);
      pairs[row][2 * half + 1] = permute_bytes(upper[row], lower[row], 0x3726);
    }
  }
}

JCB_DEVICE void look_up_halves(const char* tile, const TileShape&, int lane, int block, const HalfTable<kByteBits>&,
                               uint32_t (&pairs)[2][4]) {
  const uint4 four = *reinterpret_cast<const uint4*>(tile + place_of_operand(block, lane));
  const uint32_t words[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const uint32_t word = words[2 * half + row] ^ 0x80808080;  // 128 added
      pairs[row][2 * half] = halves_of_bytes(word, 0x4140);
      pairs[row][2 * half + 1] = halves_of_bytes(word, 0x4342);
    }
  }
}

// norm * (centroid + sigma * level), 2 kBlocks steps of 16 dimensions, into `to` [step][lane].
// centroids: [K][kBlocks][4]: what lane 4g + t adds to a block.
template <int kBits, int kBlocks>
JCB_DEVICE void decode_tile(const char* tile, const uint4* centroids, const HalfTable<kBits>& table, int lane,
                            uint4* to) {
  constexpr TileShape kTile{kBits, kBlocks};
  const uint4 rows = *reinterpret_cast<const uint4*>(tile + kTile.code_bytes() + lane / 4 * 16);
  const uint4* const centroid[2] = {centroids + static_cast<size_t>(rows.x) * kBlocks * 4 + lane % 4,
                                    centroids + static_cast<size_t>(rows.z) * kBlocks * 4 + lane % 4};
  const uint32_t norms[2] = {low_twice(rows.y), low_twice(rows.w)};
  const uint32_t scales[2] = {table.scale(norms[0], rows.y), table.scale(norms[1], rows.w)};
  // One by one: the query leaves too few registers for the centroids of all blocks at once.
#pragma unroll 1
  for (int block = 0; block < kBlocks; ++block) {
    uint32_t pairs[2][4];
    look_up_halves(tile, kTile, lane, block, table, pairs);
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const uint4 own = centroid[row][block * 4];
      pairs[row][0] = pair_fma(pairs[row][0], scales[row], pair_multiply(own.x, norms[row]));
      pairs[row][1] = pair_fma(pairs[row][1], scales[row], pair_multiply(own.y, norms[row]));
      pairs[row][2] = pair_fma(pairs[row][2], scales[row], pair_multiply(own.z, norms[row]));
      pairs[row][3] = pair_fma(pairs[row][3], scales[row], pair_multiply(own.w, norms[row]));
    }
    to[2 * block * kWarpLanes + lane] = {pairs[0][0], pairs[1][0], pairs[0][1], pairs[1][1]};
    to[(2 * block + 1) * kWarpLanes + lane] = {pairs[0][2], pairs[1][2], pairs[0][3], pairs[1][3]};
  }
}

// Every piece has the same items, and their tiles follow each other. gridDim.x is blocks_a_group times the groups of
// eight pieces; warps without a piece decode only.
template <int kBits, int kBlocks>
JCB_KERNEL(kBatchThreads, 2) maxsim_batch(Work work, Queries queries, const uint4* __restrict__ centroids,
                                          const uint32_t* __restrict__ level_halves, uint32_t blocks_a_group,
                                          float* __restrict__ partial_scores) {
  constexpr TileShape kTile{kBits, kBlocks};
  constexpr int kSteps = 2 * kBlocks, kDecoded = kSteps * kWarpLanes;  // uint4 of a decoded tile
  const int lane = threadIdx.x % kWarpLanes, warp = threadIdx.x / kWarpLanes;
  const uint32_t piece_number = blockIdx.x / blocks_a_group * kBatchWarps + warp;
  const bool has_piece = piece_number < queries.piece_count;
  const Piece piece = queries.pieces[has_piece ? piece_number : 0];
  const HalfTable<kBits> table(level_halves);

  uint2 query[kSteps * kColumnTiles];
#pragma unroll
  for (int i = 0; i < kSteps * kColumnTiles; ++i) {
    query[i] = queries.halves[(static_cast<size_t>(has_piece ? piece_number : 0) * kSteps * kColumnTiles + i) * kWarpLanes + lane];
  }
  const Share share = share_of(work, piece, blockIdx.x % blocks_a_group, blocks_a_group);
  const uint64_t begin = work.tile_sums[share.first];
  const uint32_t end = static_cast<uint32_t>(work.tile_sums[share.last] - begin);  // tiles count from begin
  const char* const tiles = work.tiles + begin * kTile.bytes();

  uint4* const decoded = reinterpret_cast<uint4*>(dynamic_shared());
  char* const raw = dynamic_shared() + 2 * kBatchWarps * kDecoded * sizeof(uint4) + warp * kTile.bytes();
  const auto fetch = [&](uint32_t tile, char* to) {
    const char* const from = tiles + static_cast<size_t>(tile < end ? tile : 0) * kTile.bytes();
#pragma unroll
    for (int i = 0; i < (kTile.pieces() + kWarpLanes - 1) / kWarpLanes; ++i) {
      const int at = i * kWarpLanes + lane;
      copy_16_if(tile < end && at < kTile.pieces(), to + at * 16, from + at * 16);
    }
    close_copies();
  };
  // This warp's tile of a round: it lies on that side once arrive() has been called and the block has met.
  const auto prepare = [&](uint32_t round, int side) {
    const uint32_t tile = round + warp;
    uint4* const to = decoded + (side * kBatchWarps + warp) * kDecoded;
    if constexpr (kBits == kRawBits) {
      fetch(tile, reinterpret_cast<char*>(to));
    } else {
      wait_for_copies<0>();
      warp_barrier();  // this tile is here for every lane
      if (tile < end) decode_tile<kBits, kBlocks>(raw, centroids, table, lane, to);
      warp_barrier();  // and read: the next may come
      fetch(tile + kBatchWarps, raw);
    }
  };
  const auto arrive = [] {
    if constexpr (kBits == kRawBits) wait_for_copies<0>();
  };

  if constexpr (kBits != kRawBits) fetch(warp, raw);
  prepare(0, 0);
  arrive();
  block_barrier();

  FloatMaxima scores;
  scores.clear();
  uint32_t item = share.first;
  const float* const steps = queries.steps + static_cast<size_t>(has_piece ? piece_number : 0) * kColumns + lane % 4 * 8;
  const auto end_of_item = [&] {
    return item < share.last ? static_cast<uint32_t>(work.tile_sums[item + 1] - begin) : ~uint32_t{0};
  };
  const auto finish_until = [&](uint32_t tile) {  // the documents that end at this tile or before
    while (end_of_item() <= tile) {
      const bool is_empty = work.tile_sums[item + 1] == work.tile_sums[item];
      const float score = scores.score(steps);
      if (has_piece && lane == 0) {
        partial_scores[piece.output + (item - piece.first_item)] = is_empty ? kMinusInfinity : score;
      }
      if (!is_empty) scores.clear();
      ++item;
    }
    return end_of_item();
  };

  uint32_t stop = finish_until(0);  // the first tile after the document in work
  int side = 0;
  for (uint32_t round = 0; round < end; round += kBatchWarps, side ^= 1) {
    prepare(round + kBatchWarps, side ^ 1);
    const uint32_t last = end - round < kBatchWarps ? end : round + kBatchWarps;
    const uint4* from = decoded + side * kBatchWarps * kDecoded + lane;
    for (uint32_t tile = round; has_piece && tile < last; ++tile, from += kDecoded) {
      if (tile >= stop) stop = finish_until(tile);
      float sums[kColumnTiles][4] = {};
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        const uint4 four = from[step * kWarpLanes];
        const uint32_t a[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
        for (int n = 0; n < kColumnTiles; ++n) {
          multiply_f16(sums[n], a, query[step * kColumnTiles + n].x, query[step * kColumnTiles + n].y);
        }
      }
      scores.take(sums);
    }
    arrive();
    block_barrier();
  }
  finish_until(end);
}

}  // namespace jcb::cuda
