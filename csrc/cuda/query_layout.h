// Queries as the kernels take them: in pieces of 32 tokens, the last piece of a query filled up with zeros that count
// nothing. Used by host code and by kernels.
#pragma once
#include <cstdint>

#include "cuda/machine.h"
#include "cuda/tile_layout.h"

namespace jcb::cuda {

constexpr int kColumns = 32;  // tokens of a piece: four n-tiles of an MMA
constexpr int kColumnTiles = kColumns / 8;

struct Piece {
  uint32_t first_token, tokens;  // of the call's query tokens
  uint32_t first_item, items;    // documents that it scores: see Work
  uint64_t output;               // where the first of their scores goes
};

// The pieces of a query: their scores lie piece after piece, `count` of each; their sums go to `output` and on.
struct QuerySum {
  uint64_t first_partial, output;
  uint32_t pieces, count;
};

// Which token of its piece a column of an n-tile is. Lane 4g + t holds, of all n-tiles, the columns 2t and 2t + 1: so they
// are the tokens 8t .. 8t + 7, and what a lane reads of a row of 32 scores lies together.
JCB_ANYWHERE constexpr int token_of_column(int tile, int column) { return column / 2 * 8 + 2 * tile + column % 2; }

// All pieces of a call, on the device.
//   score = sum over tokens of steps[token] * max over document tokens of
//           norm * ((scores[id][token] - 128) + sigma * units * <integers of the token, integers of the levels>)
// where the products of a symmetric table (LevelBytes) begin with biases[token], half the sum of the token's integers.
struct Queries {
  const Piece* pieces;
  const uint2* bytes;        // [pieces][blocks][n-tile][lane]: operand B of multiply_i8
  const uint2* halves;       // [pieces][2 blocks][n-tile][lane]: operand B of multiply_f16; queries in steps
  const float* columns;      // [pieces][32 blocks][32]: the vectors, a column for each token
  const float* steps;        // [pieces][32], times norm_scale
  const float* units;        // [pieces]
  const int32_t* biases;     // [pieces][32]; null without a symmetric table
  const uint8_t* scores;     // [pieces][rows of centroids][32], 128 added
  uint32_t piece_count, centroid_rows;  // rows: the number of centroids, up to a multiple of 16
};

}  // namespace jcb::cuda
