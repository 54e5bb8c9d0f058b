#include "cpu/dot_query.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "cpu/rounding.h"

namespace jcb::maxsim {
namespace {

// Where token t of 32 lies for sums that are packed by lanes: lanes of two registers give four each to eight.
int64_t packed_column(int64_t t) { return t / 8 * 4 + t % 4 + t / 4 % 2 * 16; }

}  // namespace

int rounded_value(double value, double s) { return static_cast<int>(std::lrint(value / s)); }

DotQuery::DotQuery(const Lattice& lattice, const DotLimits& limits, std::vector<int64_t> dimensions,
                   std::vector<int64_t> places, int64_t dim, int columns)
    : lattice_(lattice),
      limits_(limits),
      dimensions_(std::move(dimensions)),
      places_(std::move(places)),
      dim_(dim),
      columns_(columns),
      steps_(columns),
      largest_sums_(columns),
      lengths_(columns) {
  const auto positions = static_cast<int64_t>(dimensions_.size());
  values_ = make_aligned<int8_t>((positions + kTileDepth - 1) / kTileDepth * kTileDepth * columns);
  start32_ = make_aligned<int32_t>(columns);
  start16_ = make_aligned<int16_t>(positions / kChain * columns * 2);
}

void DotQuery::add(int token, const float* query, double smallest_step) {
  const auto positions = static_cast<int64_t>(dimensions_.size()), chains = positions / kChain;
  const int64_t column = limits_.packed_columns && columns_ == 32 ? packed_column(token) : token;
  double largest_value = 0.0;
  std::vector<double> chain_sizes(chains * 2);
  for (int64_t p = 0; p < positions; ++p) {
    if (dimensions_[p] >= dim_) continue;
    const double value = std::fabs(static_cast<double>(query[dimensions_[p]]));
    largest_value = std::max(largest_value, value);
    chain_sizes[p / kChain * 2 + p / 2 % 2] += value;
  }
  double s = largest_value / 127.0;
  if (limits_.chained) {  // half of a chain's values, each off by a half, and the start by one
    const double room = kLargestWord - 2.0 - kChain / 4.0 * lattice_.largest_weight;
    s = std::max(s, *std::max_element(chain_sizes.begin(), chain_sizes.end()) * lattice_.largest_weight / room);
  }
  s = std::max(s, smallest_step / lattice_.unit);
  if (s == 0.0) return;
  const double step = float_not_below(s * lattice_.unit);
  double square = 0.0;
  int64_t size = 0;
  std::vector<int64_t> chain_sums(chains * 2);
  for (int64_t p = 0; p < positions; ++p) {
    if (dimensions_[p] >= dim_) continue;
    const int rounded = rounded_value(query[dimensions_[p]], step / lattice_.unit);
    const int64_t place = places_.empty() ? p : places_[dimensions_[p]];
    values_[(place / 4 * columns_ + column) * 4 + place % 4] = static_cast<int8_t>(rounded);
    chain_sums[p / kChain * 2 + p / 2 % 2] += rounded;
    size += std::abs(rounded);
    square += static_cast<double>(rounded) * rounded;
  }
  const double bias = lattice_.low / lattice_.unit;
  int64_t start = 0;
  for (int64_t lane = 0; lane < 2 * chains; ++lane) {
    const int64_t part = std::llrint(bias * static_cast<double>(chain_sums[lane]));
    start16_[(lane / 2 * columns_ + token) * 2 + lane % 2] = static_cast<int16_t>(static_cast<uint16_t>(part));
    start += part + limits_.weight_offset * chain_sums[lane];
  }
  start32_[column] = static_cast<int32_t>(start);
  steps_[token] = step;
  lengths_[token] = std::sqrt(square);
  largest_sums_[token] = static_cast<double>(size) * lattice_.largest_weight + static_cast<double>(chains);
}

void DotQuery::shift_by(int shift) {
  shift_ = shift;
  if (shift == 0) return;
  for (int column = 0; column < columns_; ++column) start32_[column] += 1 << (shift - 1);
}

void DotQuery::show(FastTile& view) const {
  view.positions = static_cast<int64_t>(dimensions_.size());
  view.query = values_.get();
  view.start32 = start32_.get();
  view.start16 = start16_.get();
  view.shift = shift_;
  view.rounding = shift_ > 0 ? 1 << (shift_ - 1) : 0;
}

}  // namespace jcb::maxsim
