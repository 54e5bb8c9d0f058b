// The seam between preparing queries (portable code, once) and the loops over tokens (one set per instruction set).
//
// A query is cut into tiles of 16 or 32 tokens. For a tile every kernel computes, per document token, one i16 per query
// token, A, with  <q, levels[code]> = step_q * A  up to a rounding error that the tables know. All of them end alike:
//
//   best_q = max over tokens of ( R(S16[id][q] * m1) + R(A * m2) ),   R(x) = round(x / 2^15), the AVX2 vpmulhrsw
//   score  = unit * sum over q of step_q * best_q
//
// with m1 ~ norm and m2 ~ norm * sigma as i16 of the token: see maxsim_quantized_tables.h for scales and errors.
//
// Only plain data here, and no code of the standard library: these types are used in files that are compiled for
// particular processors, and an inline function compiled there could be the copy that the linker keeps for all.
#pragma once
#include <cstdint>

#include "jcb/maxsim_quantized.h"

#define JCB_INLINE inline __attribute__((always_inline))

namespace jcb::maxsim {

// How A is computed.
//   kRowBytes  1 and 2 bits, 32 query tokens: nibbles of the code look up rows of 32 bytes, which are added.
//   kRowWords  1 and 2 bits, 16 query tokens: the same with rows of 16 i16. As fast per token, 10 times as precise.
//   kDot       codes become u8 weights, multiplied with an i8 query: 4 and 8 bits, and fewer where that is faster.
enum class Family { kRowBytes, kRowWords, kDot };

constexpr int64_t kLargestQueryTokens = 1024;
constexpr int64_t kLargestDimensions = 4096;  // buffers of the loops hold that many per token, on the stack

// Document tokens are read in blocks of this many bytes of code, the last one padded.
constexpr int kCodeBlock = 16;

// Weights of kDot lie in the order in which a block of codes unfolds fastest: position -> dimension. A nibble holds
// `per` dimensions; first come dimension j = 0 of the 16 low nibbles, then of the 16 high ones, then j = 1.
constexpr int64_t dimension_of_position(int bits, int64_t position) {
  const int64_t per_byte = 8 / bits, per_nibble = per_byte / 2, block_positions = kCodeBlock * per_byte;
  if (bits == 8) return position;
  const int64_t inside = position % block_positions;
  const int64_t j = inside / 32, high = inside / 16 % 2, byte = inside % 16;
  return position - inside + byte * per_byte + high * per_nibble + j;
}

// Where a dimension's query values lie for a tile unit (simd_amx.h), which takes 64 dimensions at a time. Of the 8 * bits
// bytes of code that hold them first comes what is in the lowest bits of each byte, then what is in the next ones.
constexpr int kTileDepth = 64;
constexpr int64_t place_in_tiles(int bits, int64_t dimension) {
  const int64_t inside = dimension % kTileDepth, per_byte = 8 / bits;
  return dimension - inside + inside % per_byte * (8 * bits) + inside / per_byte;
}

// kDot adds products of this many positions in i16 before it widens them, where an instruction set needs that.
constexpr int kChain = 32;

// Rows of kRowBytes that are added in u8 before the sum is widened. Measured on a busy Zen 3 at 2 bits, cycles per
// token and error bound of 32 query tokens: one row 88 and .17, two 70 and .24, two pairs averaged (vpavgb) 68 and .32,
// four 68 and .39.
constexpr int kRowsPerSum = 2;

struct DotLimits {
  int largest_weight;  // of the u8 weights; 0: no kDot, 4 and 8 bits are scored in fp32 at once
  bool chained;        // sums over kChain positions, split into even and odd pairs, must fit i16
  int weight_offset = 0;  // weights are stored less this: 128 makes i8 of u8
  // Of 32 columns, 4 of each 8 lie in the first 16: sums that are packed by lanes of 16 bytes then come out in order.
  bool packed_columns = false;
  bool tiled = false;  // of a query's values: see place_in_tiles
};

// What the loops read for one tile. `columns` query tokens, in the order that the family produces them.
struct FastTile {
  Family family;
  int columns;  // 16 or 32
  int bits;
  int64_t code_bytes;
  int shift;  // of A: left for kRowBytes, right for kDot
  // kRowBytes, kRowWords: [8-byte words of code][8 low, then 8 high nibbles][16 values][columns] u8 or i16, 64-aligned.
  const void* rows;
  int64_t code_words;
  const int16_t* start;  // [columns] of kRowBytes
  // kDot
  const int8_t* query;    // [positions / 4][columns][4]; order, and columns of start32 too, as DotLimits says
  int64_t positions;      // multiple of kChain
  const int32_t* start32;  // [columns] the bias and the rounding of the shift
  const int16_t* start16;  // [positions / kChain][columns][2], what is left to start32 then is `rounding`
  int32_t rounding;
  const uint8_t* weights;  // [8 / (2 bits)][16], weight of dimension j of a nibble; [256] at 8 bits
  // epilogue
  const int16_t* centroid_scores;  // [K][score_stride]
  int64_t score_stride;
  const float* steps;              // [columns], 0 for columns that no query token fills
};

// The multipliers of a token, for one segment: m1 = norm * per_norm, m2 = norm * sigma * per_product.
struct TokenScale {
  float max_norm;   // as stored; larger ones are clamped
  float max_sigma;
  float per_norm;
  float per_product;
  float unit;
};

// The stored tokens of a segment.
struct TokenArrays {
  int64_t tokens;
  const uint8_t* codes;
  const uint16_t* centroid_ids_16;  // one of the two is null
  const uint32_t* centroid_ids_32;
  const uint16_t* sigmas;
  const uint16_t* norms;
  uint32_t centroid_count;
};

// Tokens of one document, checked to lie inside the arrays.
struct TokenRun {
  int64_t begin;
  int64_t end;
};

// Everything that the fp32 loop reads for one query. `columns` is its number of tokens, rounded up to 16.
struct ExactQuery {
  int columns;  // at most kLargestQueryTokens
  int tokens;
  int bits;
  int64_t dim;
  int64_t code_bytes;
  const float* query;            // [dim + padding][columns]: one row per dimension that whole bytes of code hold
  const float* levels_of_byte;   // [256][8 / bits]
  const float* centroids;        // [K][dim]
  float norm_scale;
  float max_norm;
  float max_sigma;
};

// Both add to nothing and skip empty runs: fast adds a tile's part to scores[i], exact writes scores[i].
// False: a centroid id is not below centroid_count.
using ScoreFastFunction = bool (*)(const FastTile&, const TokenScale&, const TokenArrays&, const TokenRun*,
                                   int64_t count, float* scores);
using ScoreExactFunction = bool (*)(const ExactQuery&, const TokenArrays&, const TokenRun*, int64_t count,
                                    float* scores);

// Tables of centroid scores are read so many floats at a time, whatever those belong to.
constexpr int kScoreColumns = 16;
// sizes[c] = largest |table[r * stride + c]|; NaN counts nothing.
using LargestSizesFunction = void (*)(const float* table, int64_t rows, int64_t stride, float* sizes);
// to: [rows][columns of the tile], in the tile's order: i16 nearest to table[r * stride + token] * factors[token].
using ConvertScoresFunction = void (*)(const FastTile&, const float* table, int64_t rows, int64_t stride,
                                       const float* factors, int16_t* to);

// Loops over tables of words (word_table.h): i16 scores [rows][stride], whose rows are read in whole registers.
// to: [rows][stride] A of kDot of rows of weights [rows][positions], `rows` rounded up to a multiple of rows_at_once there.
using MultiplyWeightsFunction = void (*)(const FastTile&, const uint8_t* weights, int64_t rows, int64_t stride,
                                         int16_t* to);
// to: [rows][columns of the tile], in the tile's order: words * factors / 2^15, rounded. factors: [32] by token.
using ConvertWordsFunction = void (*)(const FastTile&, const int16_t* words, int64_t rows, int64_t stride,
                                      const int16_t* factors, int16_t* to);
// best[c] = max(best[c], words[ids[i] * stride + c] over i), c < columns rounded up to a multiple of 16.
using MaxWordRowsFunction = void (*)(const int16_t* words, int64_t stride, const uint32_t* ids, int64_t count,
                                     int64_t columns, int16_t* best);
// to[c] = max of words[r * stride + c] over r < rows, rows >= 1; stride is a multiple of 16.
using ColumnMaximaFunction = void (*)(const int16_t* words, int64_t stride, int64_t rows, int16_t* to);
struct WordLoops {
  int rows_at_once;  // 0: this instruction set has no products of bytes, and all else here is null
  MultiplyWeightsFunction multiply;
  ConvertWordsFunction convert;
  MaxWordRowsFunction max_rows;
  ColumnMaximaFunction column_maxima;
};

// One instruction set.
struct Kernels {
  int least_dot_bits;  // codes of that many bits and more by kDot, of fewer by rows
  DotLimits dot;
  ScoreFastFunction fast;
  ScoreExactFunction exact;
  LargestSizesFunction largest_sizes;
  ConvertScoresFunction convert_scores;
  WordLoops words;
};

}  // namespace jcb::maxsim
