#include "cpu/word_table.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "cpu/dot_query.h"
#include "cpu/rounding.h"
#include "cpu/row_blocks.h"

namespace jcb::maxsim {
namespace {

// Rows whose maxima are kept. The count-th largest maximum of a token is a bar that its count best rows reach, and few
// others: of 16,384 rows, 512 maxima and 17 blocks are looked at for the 17 best.
constexpr int64_t kRowsPerMaximum = 32;
constexpr int64_t kReadBeyond = 32;  // words behind a table: a tile of 32 may begin at any token

float finite(float value) { return std::isfinite(value) ? value : 0.0f; }

int64_t rounded_up(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

Lattice lattice_of(const Kernels& kernels, const CodecView& codec, const ThreadPool& pool) {
  std::vector<std::pair<float, float>> ranges(std::max<int64_t>(1, row_blocks(codec.centroid_count)));
  for_row_blocks(&pool, codec.centroid_count, [&](int64_t block, int64_t begin, int64_t end) {
    auto [least, most] = ranges[block];
    for (int64_t i = begin * codec.dim; i < end * codec.dim; ++i) {
      const float value = finite(codec.centroids[i]);
      least = std::min(least, value);
      most = std::max(most, value);
    }
    ranges[block] = {least, most};
  });
  float least = 0.0f, most = 0.0f;
  for (const auto& [low, high] : ranges) least = std::min(least, low), most = std::max(most, high);
  const double steps = kernels.dot.largest_weight, range = static_cast<double>(most) - least;
  const double unit = range > 0 ? range / steps : 1.0;
  return {unit, least, std::max(-least, most) / unit};
}

}  // namespace

ByteCentroids::ByteCentroids(const Kernels& kernels, const CodecView& codec, const ThreadPool& pool)
    : kernels_(kernels),
      rows_(codec.centroid_count),
      dim_(codec.dim),
      positions_(rounded_up(codec.dim, kChain)),
      lattice_(lattice_of(kernels, codec, pool)) {
  const int64_t padded = rounded_up(rows_, kernels.words.rows_at_once);
  weights_ = make_aligned<uint8_t>(padded * positions_);
  std::vector<double> longest(std::max<int64_t>(1, row_blocks(rows_)));
  const auto unit = static_cast<float>(lattice_.unit), low = static_cast<float>(lattice_.low), per_unit = 1.0f / unit;
  const auto largest_weight = static_cast<float>(kernels.dot.largest_weight);
  for_row_blocks(&pool, rows_, [&](int64_t block, int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const float* centroid = codec.centroids + k * dim_;
      uint8_t* weights = weights_.get() + k * positions_;
      float square = 0.0f, square_of_weights = 0.0f;
      for (int64_t d = 0; d < dim_; ++d) {
        const float value = finite(centroid[d]);
        const float exact = (value - low) * per_unit + 0.5f;  // NaN where the range is below what fp32 divides by
        const auto weight = static_cast<int>(exact > 0.0f ? std::min(exact, largest_weight) : 0.0f);
        const float stands_for = unit * static_cast<float>(weight) + low;
        square += value * value;
        square_of_weights += stands_for * stands_for;
        weights[d] = static_cast<uint8_t>(weight - kernels.dot.weight_offset);
      }
      longest[block] = std::max<double>(longest[block], std::max(square, square_of_weights));
    }
  });
  // The sums of squares are fp32: each of `dim` additions is off by a part in 2^24 at most.
  const double largest = *std::max_element(longest.begin(), longest.end());
  longest_ = std::sqrt(largest) * (1.0 + 1e-7 * static_cast<double>(dim_));
}

WordTable::WordTable(const ByteCentroids& centroids, const float* queries, int64_t tokens, const ThreadPool& pool)
    : loops_(centroids.kernels().words),
      rows_(centroids.rows()),
      tokens_(tokens),
      stride_(rounded_up(tokens, 16)),
      longest_centroid_(centroids.longest()),
      steps_(tokens) {
  if (!std::all_of(queries, queries + tokens * centroids.dim(), [](float value) { return std::isfinite(value); })) {
    throw std::invalid_argument("a query vector holds NaN or infinity; only finite numbers are allowed");
  }
  words_ = make_aligned<int16_t>(rows_ * stride_ + kReadBeyond, false);
  std::fill_n(words_.get() + rows_ * stride_, kReadBeyond, int16_t{0});
  maxima_ = make_aligned<int16_t>((rows_ + kRowsPerMaximum - 1) / kRowsPerMaximum * stride_, false);
  const Kernels& kernels = centroids.kernels();
  std::vector<int64_t> dimensions(centroids.positions());
  std::iota(dimensions.begin(), dimensions.end(), int64_t{0});
  std::vector<std::unique_ptr<DotQuery>> tiles;
  std::vector<FastTile> views;
  for (int64_t first = 0; first < tokens; first += 32) {
    const int count = static_cast<int>(std::min<int64_t>(32, tokens - first)), columns = count > 16 ? 32 : 16;
    auto tile = std::make_unique<DotQuery>(centroids.lattice(), kernels.dot, dimensions, std::vector<int64_t>(),
                                          centroids.dim(), columns);
    double largest = 1.0;
    for (int t = 0; t < count; ++t) {
      tile->add(t, queries + (first + t) * centroids.dim(), 0.0);
      // Cauchy and Schwarz, in units of the sums; the bias is rounded once per chain and lane.
      const double by_lengths = tile->length(t) * centroids.longest() / centroids.lattice().unit + 2 * tile->chains();
      largest = std::max(largest, std::min(by_lengths, tile->largest_sum(t)));
    }
    const int shift = shift_to_word(largest);
    tile->shift_by(shift);
    for (int t = 0; t < count; ++t) steps_[first + t] = static_cast<float>(std::ldexp(tile->step(t), shift));
    FastTile view{};
    view.columns = columns;
    tile->show(view);
    views.push_back(view);
    tiles.push_back(std::move(tile));
  }
  for_row_blocks(&pool, rows_, [&](int64_t, int64_t begin, int64_t end) {
    for (size_t i = 0; i < views.size(); ++i) {
      int16_t* to = words_.get() + begin * stride_ + static_cast<int64_t>(i) * 32;
      loops_.multiply(views[i], centroids.weights(begin), end - begin, stride_, to);
    }
    for (int64_t first = begin; first < end; first += kRowsPerMaximum) {
      const int64_t count = std::min(kRowsPerMaximum, end - first);
      loops_.column_maxima(row(first), stride_, count, maxima_.get() + first / kRowsPerMaximum * stride_);
    }
  });
}

void WordTable::best(const ThreadPool& pool, int64_t count, int64_t* ids, float* scores) const {
  constexpr int64_t kTokensPerItem = 4;
  pool.for_each((tokens_ + kTokensPerItem - 1) / kTokensPerItem, [&](int64_t item) {
    const int64_t last = std::min(tokens_, (item + 1) * kTokensPerItem);
    for (int64_t t = item * kTokensPerItem; t < last; ++t) pick(t, count, ids + t * count, scores + t * count);
  });
}

void WordTable::pick(int64_t token, int64_t count, int64_t* ids, float* scores) const {
  const int64_t blocks = (rows_ + kRowsPerMaximum - 1) / kRowsPerMaximum;
  std::vector<int16_t> maxima(blocks);
  for (int64_t b = 0; b < blocks; ++b) maxima[b] = maxima_[b * stride_ + token];
  int16_t bar = std::numeric_limits<int16_t>::min();
  if (count <= blocks) {
    std::vector<int16_t> ordered = maxima;
    std::nth_element(ordered.begin(), ordered.begin() + (count - 1), ordered.end(), std::greater<>());
    bar = ordered[count - 1];
  }
  std::vector<std::pair<int, int64_t>> reaching;  // (-word, id) sorts as is wanted
  for (int64_t b = 0; b < blocks; ++b) {
    if (maxima[b] < bar) continue;
    for (int64_t k = b * kRowsPerMaximum; k < std::min(rows_, (b + 1) * kRowsPerMaximum); ++k) {
      if (const int16_t word = row(k)[token]; word >= bar) reaching.emplace_back(-word, k);
    }
  }
  std::partial_sort(reaching.begin(), reaching.begin() + count, reaching.end());
  for (int64_t i = 0; i < count; ++i) {
    ids[i] = reaching[i].second;
    scores[i] = steps_[token] * static_cast<float>(-reaching[i].first);
  }
}

}  // namespace jcb::maxsim
