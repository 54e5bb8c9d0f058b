#include "cpu/maxsim_quantized_tables.h"

#include <algorithm>
#include <cmath>

#include "cpu/maxsim_quantized_rounding.h"
#include "cpu/rounding.h"
#include "cpu/row_blocks.h"

namespace jcb::maxsim {
namespace {

constexpr double kWordScale = 32768.0;

// A query token of zeros has step 0; one whose products vanish beside its centroid scores gets a step for the latter.
double smallest_step(double largest_score) { return largest_score * 1e-7; }

// <q, levels> of every value of every nibble: [groups][16], nibble g holding dimensions g * per onwards. Dimensions
// past the last count nothing.
std::vector<double> products_of_nibbles(const CodecView& codec, const float* query, int64_t groups) {
  const int per = 4 / codec.nbits, mask = (1 << codec.nbits) - 1;
  std::vector<double> products(groups * 16);
  for (int64_t g = 0; g < groups; ++g) {
    for (int j = 0; j < per && g * per + j < codec.dim; ++j) {
      const double value = query[g * per + j];
      for (int n = 0; n < 16; ++n) products[g * 16 + n] += value * codec.levels[n >> (j * codec.nbits) & mask];
    }
  }
  return products;
}

// Where the row of nibble g lies: eight bytes of code give eight low, then eight high nibbles.
int64_t row_of_nibble(int64_t g) {
  const int64_t byte = g / 2, high = g % 2;
  return byte / 8 * 16 + high * 8 + byte % 8;
}

double largest_size(const double* values, int count) {
  double largest = 0.0;
  for (int i = 0; i < count; ++i) largest = std::max(largest, std::fabs(values[i]));
  return largest;
}

}  // namespace

int Tile::token_of_column(int column) const {
  if (view_.family != Family::kRowBytes) return column;
  return column < 16 ? 2 * column : 2 * (column - 16) + 1;  // widening u8 to i16 parts even from odd
}

Tile::Tile(Family family, int columns, const CodecView& codec, const LevelLattice& lattice, const DotLimits& limits,
           const TileTokens& tokens)
    : codec_(codec), count_(tokens.count), norm_scale_(codec.norm_scale), steps_(columns) {
  view_.family = family;
  view_.columns = columns;
  view_.bits = codec.nbits;
  view_.code_bytes = codec.code_bytes();
  view_.code_words = (view_.code_bytes + 7) / 8;
  if (family == Family::kRowBytes) build_row_bytes(tokens);
  if (family == Family::kRowWords) build_row_words(tokens);
  if (family == Family::kDot) build_dot(lattice, limits, tokens);

  column_steps_ = make_aligned<float>(columns);
  for (int c = 0; c < columns; ++c) column_steps_[c] = static_cast<float>(steps_[token_of_column(c)]);
  view_.steps = column_steps_.get();
  for (int t = 0; t < count_; ++t) {
    step_sum_ += steps_[t];
    const float* query = tokens.queries + t * codec_.dim;
    length_sum_ += length(query, codec_.dim);
    // Whatever their signs: a level is added to a centroid before products can cancel.
    for (int64_t d = 0; d < codec_.dim; ++d) product_sum_ += std::fabs(query[d]) * lattice.largest_level;
    if (steps_[t] > 0) rho_ = std::max(rho_, tokens.largest_scores[t] / (steps_[t] * (kLargestWord - 1.0)));
  }
}

void Tile::build_row_bytes(const TileTokens& tokens) {
  const int64_t groups = view_.code_words * 16;
  rows_ = make_aligned<uint8_t>(groups * 16 * view_.columns);
  start_ = make_aligned<int16_t>(view_.columns);
  std::vector<double> ordered(groups * 16);
  std::vector<double> errors(count_);
  std::vector<int64_t> offsets(view_.columns);
  RoundedRows rounded;
  double largest = 1.0;
  for (int t = 0; t < count_; ++t) {
    const std::vector<double> products = products_of_nibbles(codec_, tokens.queries + t * codec_.dim, groups);
    std::vector<double> ranges(groups);
    double size = 0.0, widest_sum = 0.0;
    for (int64_t g = 0; g < groups; ++g) {
      const auto [least, most] = std::minmax_element(&products[g * 16], &products[g * 16] + 16);
      std::copy_n(&products[g * 16], 16, &ordered[row_of_nibble(g) * 16]);
      ranges[row_of_nibble(g)] = *most - *least;
      size += std::max(std::fabs(*least), std::fabs(*most));
    }
    for (int64_t g = 0; g < groups; g += kRowsPerSum) {
      double sum = 0.0;
      for (int j = 0; j < kRowsPerSum; ++j) sum += ranges[g + j];
      widest_sum = std::max(widest_sum, sum);
    }
    // Sums of bytes must fit u8, and their sum, centred, i16. Rounding adds to both: a guess, widened until it holds.
    const double room = kLargestWord - 2.0 - static_cast<double>(groups);
    double step = std::max({widest_sum / (255.0 - 0.25 * kRowsPerSum), size / room,
                            smallest_step(tokens.largest_scores[t])});
    if (step == 0.0) continue;  // zeros everywhere are right
    step = float_not_below(step);
    while (!rounded.round(ordered, step)) step = float_not_below(step * 1.004);
    for (int64_t r = 0; r < groups; ++r) {
      for (int n = 0; n < 16; ++n) rows_[(r * 16 + n) * view_.columns + t] = rounded.groups[r].integers[n];
    }
    offsets[t] = std::llrint(rounded.offset);
    steps_[t] = step;
    errors[t] = rounded.error + std::fabs(rounded.offset - static_cast<double>(offsets[t]));
    largest = std::max({largest, std::fabs(static_cast<double>(offsets[t])),
                        std::fabs(static_cast<double>(offsets[t] + rounded.largest_sum))});
  }
  while (largest * 2.0 <= kLargestWord) largest *= 2.0, ++view_.shift;
  largest_a_ = largest;
  for (int t = 0; t < count_; ++t) {
    lookup_error_sum_ += errors[t] * steps_[t];
    steps_[t] = std::ldexp(steps_[t], -view_.shift);
  }
  // The even column accumulates 256 times its odd neighbour as well, which is taken off at the end: modulo 2^16 each.
  for (int c = 0; c < 16; ++c) {
    start_[c] = static_cast<int16_t>(static_cast<uint16_t>(offsets[2 * c] + offsets[2 * c + 1] * 256));
    start_[16 + c] = static_cast<int16_t>(static_cast<uint16_t>(offsets[2 * c + 1]));
  }
  view_.rows = rows_.get();
  view_.start = start_.get();
}

void Tile::build_row_words(const TileTokens& tokens) {
  const int64_t groups = view_.code_words * 16;
  rows_ = make_aligned<uint8_t>(groups * 16 * view_.columns * static_cast<int64_t>(sizeof(int16_t)));
  int16_t* rows = reinterpret_cast<int16_t*>(rows_.get());
  for (int t = 0; t < count_; ++t) {
    const std::vector<double> products = products_of_nibbles(codec_, tokens.queries + t * codec_.dim, groups);
    double size = 0.0;
    for (int64_t g = 0; g < groups; ++g) size += largest_size(&products[g * 16], 16);
    // Every rounding may add a half, and still no sum of any rows leaves i16.
    const double step = float_not_below(std::max(size / (kLargestWord - 0.5 * static_cast<double>(groups)),
                                                 smallest_step(tokens.largest_scores[t])));
    if (step == 0.0) continue;
    steps_[t] = step;
    for (int64_t g = 0; g < groups; ++g) {
      double error = 0.0;
      for (int n = 0; n < 16; ++n) {
        const double exact = products[g * 16 + n] / step, rounded = std::nearbyint(exact);
        rows[(row_of_nibble(g) * 16 + n) * view_.columns + t] = static_cast<int16_t>(rounded);
        error = std::max(error, std::fabs(exact - rounded));
      }
      lookup_error_sum_ += error * step;
    }
  }
  largest_a_ = kLargestWord;
  view_.rows = rows_.get();
}

// A = (sum of q_d * weight_d + start) >> shift, q_d i8 with a step s of its own per query token (dot_query.h). Error of a
// product:
//   query_d level - s q_d (unit * weight + low) = (query_d - s q_d) level + s q_d (level - (unit * weight + low)),
// largest over codes; `start` is rounded once per chain and lane, A once.
void Tile::build_dot(const LevelLattice& lattice, const DotLimits& limits, const TileTokens& tokens) {
  std::vector<int64_t> places;
  if (limits.tiled) places = places_in_tiles();
  query_ = std::make_unique<DotQuery>(lattice, limits, dimensions_of_positions(), places, codec_.dim, view_.columns);
  double largest = 1.0;
  for (int t = 0; t < count_; ++t) {
    const float* query = tokens.queries + t * codec_.dim;
    query_->add(t, query, smallest_step(tokens.largest_scores[t]));
    largest = std::max(largest, query_->largest_sum(t));
  }
  const int shift = shift_to_word(largest);
  query_->shift_by(shift);
  query_->show(view_);
  largest_a_ = kLargestWord;
  for (int t = 0; t < count_; ++t) steps_[t] = std::ldexp(query_->step(t), shift);
  const int per_nibble = 4 / codec_.nbits, mask = (1 << codec_.nbits) - 1;
  weights_ = make_aligned<uint8_t>(256);
  std::copy_n(lattice.weights, 256, weights_.get());
  for (int i = 0; codec_.nbits < 8 && i < 16 * per_nibble; ++i) {
    weights_[i] = lattice.weights[(i % 16) >> (i / 16 * codec_.nbits) & mask];
  }
  for (int i = 0; i < 256; ++i) weights_[i] = static_cast<uint8_t>(weights_[i] - limits.weight_offset);
  view_.weights = weights_.get();
}

std::vector<int64_t> Tile::dimensions_of_positions() const {
  const int64_t blocks = (view_.code_bytes + kCodeBlock - 1) / kCodeBlock;
  const int64_t positions = (blocks * kCodeBlock * (8 / codec_.nbits) + kChain - 1) / kChain * kChain;
  std::vector<int64_t> dimensions(positions);
  for (int64_t p = 0; p < positions; ++p) dimensions[p] = dimension_of_position(codec_.nbits, p);
  return dimensions;
}

std::vector<int64_t> Tile::places_in_tiles() const {
  std::vector<int64_t> places(codec_.dim);
  for (int64_t d = 0; d < codec_.dim; ++d) places[d] = place_in_tiles(codec_.nbits, d);
  return places;
}

// Per query token the sum over dimensions of the largest error of a product, 2 lanes of a chain off by a half each, and
// A off by a half.
void Tile::measure_dot_error(const LevelLattice& lattice, const float* queries) {
  for (int t = 0; t < count_; ++t) {
    if (steps_[t] == 0.0) continue;
    const double step = query_->step(t), s = step / lattice.unit;
    double error = step * query_->chains() + 0.5 * steps_[t];
    for (const int64_t d : query_->dimensions()) {
      if (d >= codec_.dim) continue;
      const double value = queries[t * codec_.dim + d], rounded = s * rounded_value(value, s);
      error += lattice.largest_combination(value - rounded, rounded);
    }
    lookup_error_sum_ += error;
  }
}

void Tile::convert_centroid_scores(ConvertScoresFunction convert, const float* scores, int64_t centroid_count,
                                   int64_t stride, const ThreadPool* pool) {
  const int columns = view_.columns;
  make_centroid_scores(centroid_count);
  float factors[32] = {};  // by token
  for (int token = 0; token < count_; ++token) {
    if (rho_ * steps_[token] != 0.0) factors[token] = static_cast<float>(1.0 / (rho_ * steps_[token]));
  }
  // Whole registers are read, whatever is behind a row's own values: the factors there are zero.
  int16_t* to = centroid_scores_.get();
  const int64_t safe = rows_to_read_beyond(centroid_count, stride, columns);
  for_row_blocks(pool, safe, [&](int64_t, int64_t begin, int64_t end) {
    convert(view_, scores + begin * stride, end - begin, stride, factors, to + begin * columns);
  });
  for (int64_t k = safe; k < centroid_count; ++k) {
    float row[32] = {};
    std::copy_n(scores + k * stride, count_, row);
    convert(view_, row, 1, 0, factors, to + k * columns);
  }
}

void Tile::take_word_scores(const WordTable& words, int64_t first, const ThreadPool* pool) {
  rho_ = 0.0;
  for (int t = 0; t < count_; ++t) {
    if (steps_[t] > 0) rho_ = std::max(rho_, words.step(first + t) / steps_[t]);
  }
  bool as_they_are = view_.family == Family::kDot;  // one scale for all, and tokens in their order
  int16_t factors[32] = {};                         // of 2^-15, by token
  for (int t = 0; t < count_; ++t) {
    if (steps_[t] * rho_ == 0.0) continue;
    const double factor = words.step(first + t) / (steps_[t] * rho_);
    factors[t] = static_cast<int16_t>(std::min(kLargestWord, std::nearbyint(factor * kWordScale)));
    as_they_are = as_they_are && (factor > 1.0 - 1e-6 || words.step(first + t) == 0.0);
  }
  if (as_they_are) {
    view_.centroid_scores = words.row(0) + first;
    view_.score_stride = words.stride();
    return;
  }
  make_centroid_scores(words.rows());
  for_row_blocks(pool, words.rows(), [&](int64_t, int64_t begin, int64_t end) {
    words.loops().convert(view_, words.row(begin) + first, end - begin, words.stride(), factors,
                          centroid_scores_.get() + begin * view_.columns);
  });
}

void Tile::make_centroid_scores(int64_t centroid_count) {
  centroid_scores_ = make_aligned<int16_t>(centroid_count * view_.columns, false);
  view_.centroid_scores = centroid_scores_.get();
  view_.score_stride = view_.columns;
}

// u of the proof: the value of 1 of the result, in steps.
double Tile::step_of_scale(double max_sigma, double norm) const {
  const double multipliers = std::max(rho_, max_sigma) * norm * kWordScale / (kLargestWord - 1.0);
  const double results = ((kLargestWord - 1.0) * rho_ + largest_a_ * max_sigma) * norm / (kLargestWord - 3.0);
  return std::max(multipliers, results);
}

TokenScale Tile::scale(float max_sigma, float max_norm) const {
  const double u = step_of_scale(max_sigma, max_norm * norm_scale_);
  const double per_norm = u > 0 ? norm_scale_ * kWordScale / u : 0.0;
  return {max_norm, max_sigma, static_cast<float>(per_norm * rho_), static_cast<float>(per_norm),
          static_cast<float>(u)};
}

double Tile::error_bound(float max_sigma, float max_norm, int query_tokens, double longest_centroid) const {
  const double norm = max_norm * norm_scale_, dim = static_cast<double>(codec_.dim);
  const double u = step_of_scale(max_sigma, norm);
  const double operations = dim + 2.0 * query_tokens + 32.0;  // of fp32, one after another
  const double sizes = (operations + dim) * length_sum_ * longest_centroid + operations * max_sigma * product_sum_;
  return norm * max_sigma * lookup_error_sum_ + 0.51 * norm * rho_ * step_sum_ + 2.02 * u * step_sum_ +
         0x1p-24 * norm * sizes;
}

}  // namespace jcb::maxsim
