// MaxSim in fp32 over decoded vectors: what ranks hits. For some hundreds of documents.
//
// A block scores one document for one piece; its warps take the tiles in turns. A lane is a query token. A block of 32
// dimensions at a time is decoded into shared memory, and every lane multiplies it with its own column of the query.
// Sums go through the dimensions in order, whatever the launch looks like.
#pragma once
#include "cuda/kernels/keys.h"
#include "cuda/kernels/work.h"
#include "cuda/query_layout.h"

namespace jcb::cuda {

constexpr int kExactWarps = 4, kExactThreads = kExactWarps * kWarpLanes;
constexpr int kDecodedStride = kTileTokens + 4;  // floats from one dimension to the next: few conflicts, and 16 bytes apart
constexpr size_t kExactSharedBytes =
    kExactWarps * (kBlockDimensions * kDecodedStride + kColumns) * sizeof(float);

// centroids: [K, dim]. levels: [2^bits]; of 8 bits LevelBytes::by_rank, and ranks: [tiles], the codes that choose there
// among the levels of an integer. Raw vectors need none of these.
struct Decoding {
  const float* centroids;
  const float* levels;
  const char* ranks;
  int dim, bits, rank_bits, blocks;
  float norm_scale;
};

// The piece that a place of the output belongs to: outputs follow each other as pieces do.
JCB_DEVICE uint32_t piece_of_output(const Queries& queries, uint64_t output) {
  uint32_t first = 0, last = queries.piece_count;  // the answer is in first .. last - 1
  while (last - first > 1) {
    const uint32_t middle = first + (last - first) / 2;
    if (queries.pieces[middle].output <= output) {
      first = middle;
    } else {
      last = middle;
    }
  }
  return first;
}

// A lane's codes of a block: eight dimensions of two tokens (rows), in the words that hold them. kWidth: bits of a
// code, 4 for all that are looked up.
template <int kWidth>
struct BlockCodes {
  uint32_t words[2];

  JCB_DEVICE BlockCodes(const TileShape& shape, const char* tile, int block, int lane) {
    for (int half = 0; half < 2; ++half) {
      const int place = shape.place_of(word_of_code(shape.bits, block, half), lane);
      words[half] = *reinterpret_cast<const uint32_t*>(tile + place) >> shift_of_code(shape.bits, block, half);
    }
  }
  JCB_DEVICE uint32_t at(int row, int i) const { return words[i / 4] >> (4 * (i % 4 + 4 * row)); }
};
template <int kWidth>
  requires(kWidth >= kByteBits)
struct BlockCodes<kWidth> {
  uint32_t words[kWidth / 2];

  JCB_DEVICE BlockCodes(const TileShape&, const char* tile, int block, int lane) {
#pragma unroll
    for (int step = 0; step < kWidth / 8; ++step) {
      const int place = place_of_operand(block * (kWidth / 8) + step, lane);
      const uint4 four = *reinterpret_cast<const uint4*>(tile + place);
      words[4 * step] = four.x, words[4 * step + 1] = four.y;
      words[4 * step + 2] = four.z, words[4 * step + 3] = four.w;
    }
  }
  JCB_DEVICE uint32_t at(int row, int i) const {
    constexpr int kPer = 32 / kWidth;  // codes of a word
    return words[i / kPer * 2 + row] >> (i % kPer * kWidth);
  }
};

// Which of the levels of its integer a code stands for.
JCB_DEVICE uint32_t rank_of(const Decoding& given, const char* ranks, int token, int dimension) {
  const CodePlace place = place_of_code(given.rank_bits, token, dimension);
  const int at = TileShape(given.rank_bits, given.blocks).place_of(place.word, place.lane);
  return *reinterpret_cast<const uint32_t*>(ranks + at) >> place.shift & ((1u << given.rank_bits) - 1);
}

// This lane's 16 values of a block. ranks: of this tile.
template <int kWidth>
JCB_DEVICE void decode_block(const Decoding& given, const TileShape& shape, const char* tile, const char* ranks,
                             const uint4& rows, int block, int lane, float* decoded) {
  const BlockCodes<kWidth> codes(shape, tile, block, lane);
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    const float* const centroid = given.centroids + static_cast<size_t>(row ? rows.z : rows.x) * given.dim;
    const float sigma = high_of(row ? rows.w : rows.y);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int within = lane % 4 * 4 + i % 4 + i / 4 * 16, dimension = block * kBlockDimensions + within;
      const uint32_t code = codes.at(row, i);
      float value = 0.0f;
      if constexpr (kWidth == kRawBits) {
        value = low_of(code);  // zero where there is no dimension
      } else if (dimension < given.dim) {
        uint32_t level = code & ((1u << given.bits) - 1);
        if (kWidth == kByteBits && given.rank_bits != 0) {
          level = level << given.rank_bits | rank_of(given, ranks, lane / 4 + 8 * row, dimension);
        }
        value = fmaf(sigma, given.levels[level], centroid[dimension]);
      }
      decoded[within * kDecodedStride + lane / 4 + 8 * row] = value;
    }
  }
}

// A part of a document: every parts-th of its tiles, which begin at number `first` of the store.
struct DocumentTiles {
  const char* store;
  uint64_t first;
  uint32_t count, part = 0, parts = 1;
};

// The largest product of each query token of a piece with those tokens: the block's threads together; warp 0 has them. A
// barrier must lie between two of them, since they share the block's memory.
template <int kWidth>
JCB_DEVICE float exact_maxima(const Queries& queries, uint32_t piece_number, const Decoding& given, const DocumentTiles& tiles) {
  const int lane = threadIdx.x % kWarpLanes, warp = threadIdx.x / kWarpLanes;
  const TileShape shape(given.bits, given.blocks);
  float* const decoded = reinterpret_cast<float*>(dynamic_shared()) + warp * kBlockDimensions * kDecodedStride;
  float* const maxima = reinterpret_cast<float*>(dynamic_shared()) + kExactWarps * kBlockDimensions * kDecodedStride;
  const float* const columns =
      queries.columns + static_cast<size_t>(piece_number) * given.blocks * kBlockDimensions * kColumns + lane;

  float best = kMinusInfinity;
  for (uint32_t i = tiles.part + warp * tiles.parts; i < tiles.count; i += kExactWarps * tiles.parts) {
    const uint64_t number = tiles.first + i;
    const char* const tile = tiles.store + number * shape.bytes();
    const char* const ranks = given.ranks + number * TileShape(given.rank_bits, given.blocks).code_bytes();
    const uint4* const scalars = reinterpret_cast<const uint4*>(tile + shape.code_bytes());
    uint4 rows{};
    if constexpr (kWidth != kRawBits) rows = scalars[lane / 4];
    float sums[kTileTokens] = {};
    for (int block = 0; block < given.blocks; ++block) {
      decode_block<kWidth>(given, shape, tile, ranks, rows, block, lane, decoded);
      warp_barrier();
      for (int d = 0; d < kBlockDimensions; ++d) {
        const float own = columns[(block * kBlockDimensions + d) * kColumns];
        const float4* const values = reinterpret_cast<const float4*>(decoded + d * kDecodedStride);
#pragma unroll
        for (int four = 0; four < kTileTokens / 4; ++four) {
          const float4 value = values[four];
          sums[4 * four] = fmaf(own, value.x, sums[4 * four]);
          sums[4 * four + 1] = fmaf(own, value.y, sums[4 * four + 1]);
          sums[4 * four + 2] = fmaf(own, value.z, sums[4 * four + 2]);
          sums[4 * four + 3] = fmaf(own, value.w, sums[4 * four + 3]);
        }
      }
      warp_barrier();
    }
#pragma unroll
    for (int token = 0; token < kTileTokens; ++token) {
      float norm = 1.0f;
      if constexpr (kWidth != kRawBits) {
        const uint4 pair = scalars[token % 8];
        norm = low_of(token < 8 ? pair.y : pair.w);
      }
      best = fmaxf(best, norm * sums[token]);
    }
  }
  maxima[warp * kColumns + lane] = best;
  block_barrier();
  for (int other = 0; warp == 0 && other < kExactWarps; ++other) best = fmaxf(best, maxima[other * kColumns + lane]);
  return best;
}

// The score of a document with these maxima, in a warp.
JCB_DEVICE float sum_of_maxima(const Queries& queries, uint32_t piece_number, const Decoding& given, uint32_t tiles,
                               float best) {
  const int lane = threadIdx.x % kWarpLanes;
  float sum = lane < static_cast<int>(queries.pieces[piece_number].tokens) ? best : 0.0f;
  for (int bits = 1; bits < kWarpLanes; bits *= 2) sum += shuffle_xor(sum, bits);
  return tiles == 0 ? kMinusInfinity : sum * given.norm_scale;
}

// One block an output: gridDim.x is the number of all pieces' outputs.
template <int kWidth>
JCB_KERNEL(kExactThreads, 4) maxsim_exact(Work work, Queries queries, Decoding given, float* partial_scores) {
  const uint32_t piece_number = piece_of_output(queries, blockIdx.x);
  const Piece piece = queries.pieces[piece_number];
  const uint32_t item = piece.first_item + static_cast<uint32_t>(blockIdx.x - piece.output), tiles = tiles_of(work, item);
  const float best = exact_maxima<kWidth>(queries, piece_number, given, {work.tiles, work.first_tiles[item], tiles});
  if (threadIdx.x >= kWarpLanes) return;
  const float score = sum_of_maxima(queries, piece_number, given, tiles, best);
  if (threadIdx.x == 0) partial_scores[blockIdx.x] = score;
}

// What blocks that share a document hand to each other, all zeros before; a place for each block of the launch.
struct SharedDocuments {
  uint32_t* maxima;  // [blocks][32] keys
  uint32_t* done;    // [blocks]: parts of the document there
};
constexpr uint32_t kMostParts = 8;

// Whether all other parts are there, in a warp; `best` is then of all.
JCB_DEVICE bool is_last_part(const SharedDocuments& shared, uint32_t place, uint32_t parts, float& best) {
  uint32_t* const maximum = shared.maxima + static_cast<size_t>(place) * kColumns + threadIdx.x;
  maximum_atomically(maximum, key_of(best));
  publish();
  warp_barrier();
  uint32_t before = 0;
  if (threadIdx.x == 0) before = add_atomically(&shared.done[place], 1u);
  if (shuffle(before, 0) + 1 != parts) return false;
  publish();
  best = score_of(maximum_atomically(maximum, 0u));
  return true;
}

// The same scores of lists that the device made, whose lengths nobody else knows: blocks take a list's documents in turns;
// of fewer documents than blocks, several blocks take a part each, and the last one adds up.
// work: of all documents of the store. scores: [queries][room].
template <int kWidth>
JCB_KERNEL(kExactThreads, 4) maxsim_exact_lists(Work work, Queries queries, Decoding given, DocumentLists lists,
                                                uint32_t blocks_a_query, SharedDocuments shared, float* scores) {
  const uint32_t query = blockIdx.x / blocks_a_query, block = blockIdx.x % blocks_a_query, length = length_of(lists, query);
  const uint32_t first_piece = lists.first_pieces[query], last_piece = lists.first_pieces[query + 1];
  const uint32_t blocks_a_document = last_piece - first_piece == 1 && length != 0 ? blocks_a_query / length : 1;
  const uint32_t parts = blocks_a_document < 2 ? 1 : blocks_a_document < kMostParts ? blocks_a_document : kMostParts;
  for (uint32_t i = block / parts; i < length; i += blocks_a_query) {
    const size_t place = static_cast<size_t>(query) * lists.room + i;
    const uint32_t document = lists.documents[place], tiles = tiles_of(work, document);
    const DocumentTiles own{work.tiles, work.first_tiles[document], tiles, block % parts, parts};
    float sum = 0.0f;
    for (uint32_t piece = first_piece; piece < last_piece; ++piece) {
      float best = exact_maxima<kWidth>(queries, piece, given, own);
      if (threadIdx.x < kWarpLanes && (parts == 1 || is_last_part(shared, query * blocks_a_query + i, parts, best))) {
        sum += sum_of_maxima(queries, piece, given, tiles, best);
        if (piece + 1 == last_piece && threadIdx.x == 0) scores[place] = sum;
      }
      block_barrier();
    }
  }
}

}  // namespace jcb::cuda
