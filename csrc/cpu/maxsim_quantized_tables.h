// Tables of one tile of query tokens, and the proof of how far they are from fp32.
//
// Notation, for query token q of a tile: A the i16 that a kernel computes for a document token; step the value of 1 in
// A; N the largest norm (times norm_scale) and G the largest sigma of a segment.
//
//   <q, levels[code]>   = step * A + e1              |e1| <= lookup_error, for any code: see the builders
//   S[id][q]            = step * rho * S16 + e2      |e2| <= 0.51 step rho, and rho makes |S16| <= 32766
//   norm * rho * 2^15   = u * m1 + e3                |e3| <= 0.51 u
//   norm * sigma * 2^15 = u * m2 + e4                |e4| <= 0.51 u
//   R(x * y)            = x * y / 2^15 + e5          |e5| <= 0.5, once for S16 * m1 and once for A * m2
//
// The 0.01 covers fp32 arithmetic where the i16 are made: three roundings of 2^-24 relative to at most 2^15. So
//
//   step * u * (R(S16 m1) + R(A m2)) = norm * (S[id][q] + sigma * <q, levels[code]>) + e,
//   |e| <= N G lookup_error + 0.51 N step rho + step u (0.51 + 0.51 + 0.5 + 0.5)
//
// where |S16|, |A| <= 2^15 was used. No i16 overflows, because u is chosen such that m1, m2 <= 32767 and
// (32766 rho + largest_a G) N / u + 3 <= 32767. A maximum moves by no more than its members, so the bound of a document
// is the sum over q. S, the exact form and the last sums are fp32 themselves: n operations one after another are off by at
// most n 2^-24 times the sum of the sizes, to first order; error_bound() counts D + 2 query_tokens + 32 of them, and D
// more where centroids are concerned, since S and the exact form each make those products for themselves; the two forms
// together make 20 instead of the 32 at most. Sizes add up to |q| |centroid| at most, and to |q| |levels|.
//
// rho, u and the shift are common to a tile: the loop then needs one multiplier per token and operand. Tokens of a tile
// have steps of their own, so one of small norm keeps its precision.
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "cpu/aligned_array.h"
#include "cpu/dot_query.h"
#include "cpu/maxsim_quantized.h"
#include "cpu/maxsim_quantized_levels.h"
#include "cpu/word_table.h"

namespace jcb::maxsim {

// Rows [0, result) of a table [rows][stride] of which `columns` values may be read from any column on, because other
// rows follow: loops of a fixed length are a few instructions where those of any length are many.
inline int64_t rows_to_read_beyond(int64_t rows, int64_t stride, int64_t columns) {
  return std::max<int64_t>(0, rows - 1 - (columns + stride - 1) / stride);
}

// Query tokens of one tile. largest_scores: [count], at least the largest |centroid score| of each.
struct TileTokens {
  const float* queries;  // [count, D]
  int count;
  const double* largest_scores;
};

class Tile {
 public:
  // columns: 16 or 32, at least tokens.count.
  Tile(Family family, int columns, const CodecView& codec, const LevelLattice& lattice, const DotLimits& limits,
       const TileTokens& tokens);

  // scores: [K][stride], the first token of this tile.
  void convert_centroid_scores(ConvertScoresFunction convert, const float* scores, int64_t centroid_count,
                               int64_t stride, const ThreadPool* pool);

  // The same from a table of words, whose tokens from `first` on are this tile's. Its steps replace the proof of rho: there
  // is no error_bound() then. Where steps agree with the tile's, the table itself is read, which must outlive the tile.
  void take_word_scores(const WordTable& words, int64_t first, const ThreadPool* pool);

  // Of kDot: the part of the bound that takes longer than all else here. Once, before error_bound().
  void measure_dot_error(const LevelLattice& lattice, const float* queries);

  const FastTile& view() const { return view_; }
  TokenScale scale(float max_sigma, float max_norm) const;
  // This tile's part of the bound of a query of that many tokens.
  double error_bound(float max_sigma, float max_norm, int query_tokens, double longest_centroid) const;

 private:
  int token_of_column(int column) const;
  void build_row_bytes(const TileTokens& tokens);
  void build_row_words(const TileTokens& tokens);
  void build_dot(const LevelLattice& lattice, const DotLimits& limits, const TileTokens& tokens);
  void make_centroid_scores(int64_t centroid_count);
  double step_of_scale(double max_sigma, double norm) const;
  std::vector<int64_t> dimensions_of_positions() const;
  std::vector<int64_t> places_in_tiles() const;

  CodecView codec_;
  FastTile view_{};
  int count_;
  double norm_scale_;
  double rho_ = 0.0;
  double largest_a_ = 0.0;
  double step_sum_ = 0.0;
  double lookup_error_sum_ = 0.0;
  double length_sum_ = 0.0;    // of |q|
  double product_sum_ = 0.0;   // of sum_d |q_d| * largest |level|
  std::vector<double> steps_;  // [columns], by token
  AlignedArray<uint8_t> rows_;
  std::unique_ptr<DotQuery> query_;
  AlignedArray<int16_t> start_, centroid_scores_;
  AlignedArray<uint8_t> weights_;
  AlignedArray<float> column_steps_;
};

}  // namespace jcb::maxsim
