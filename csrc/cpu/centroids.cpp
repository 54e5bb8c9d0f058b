#include "jcb/centroids.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "cpu/panels.h"

namespace jcb {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr int64_t kColumnsPerStep = 512;  // products held before the best are picked: 192 KB with kRowsPerBlock rows
constexpr int64_t kTokensPerBlock = 16;   // query tokens whose best are picked in one pass over a table
constexpr int64_t kFew = 256;             // up to here inserting beats sorting

// The best `capacity` of a row's scores so far, best first. Scores come in the order of their ids, so one that only
// equals the last is never better.
class Best {
 public:
  Best(int64_t* ids, float* scores, int64_t capacity) : ids_(ids), scores_(scores), capacity_(capacity) {}

  void add(int64_t id, float score) {
    if (!(score > kMinusInfinity)) score = kMinusInfinity;  // NaN too
    if (size_ == capacity_ && !(score > scores_[size_ - 1])) return;
    int64_t place = size_ < capacity_ ? size_++ : size_ - 1;
    for (; place > 0 && scores_[place - 1] < score; --place) {
      scores_[place] = scores_[place - 1];
      ids_[place] = ids_[place - 1];
    }
    scores_[place] = score;
    ids_[place] = id;
  }

  bool full() const { return size_ == capacity_; }
  float last() const { return scores_[size_ - 1]; }

 private:
  int64_t* ids_;
  float* scores_;
  int64_t capacity_, size_ = 0;
};

// Columns `first`.. of a table [K, Q], `tokens` of them.
struct Columns {
  const float* table;
  int64_t centroid_count, stride, first, tokens;

  const float* row(int64_t id) const { return table + id * stride + first; }
};

bool any_above(const float* values, const float* bars, int64_t count) {
  int above = 0;
  for (int64_t i = 0; i < count; ++i) above |= values[i] > bars[i];
  return above != 0;
}

// Few of many: rows in which no token beats the last of its best are passed over.
void pick_few(const Columns& columns, int64_t count, int64_t* ids, float* scores) {
  std::vector<Best> best;
  for (int64_t t = 0; t < columns.tokens; ++t) best.emplace_back(ids + t * count, scores + t * count, count);
  for (int64_t id = 0; id < count; ++id) {
    for (int64_t t = 0; t < columns.tokens; ++t) best[t].add(id, columns.row(id)[t]);
  }
  float bars[kTokensPerBlock];
  for (int64_t t = 0; t < columns.tokens; ++t) bars[t] = best[t].last();
  for (int64_t id = count; id < columns.centroid_count; ++id) {
    const float* row = columns.row(id);
    if (!any_above(row, bars, columns.tokens)) continue;
    for (int64_t t = 0; t < columns.tokens; ++t) {
      if (!(row[t] > bars[t])) continue;
      best[t].add(id, row[t]);
      bars[t] = best[t].last();
    }
  }
}

void pick_many(const Columns& columns, int64_t count, int64_t* ids, float* scores) {
  std::vector<std::pair<float, int64_t>> order(columns.centroid_count);  // (-score, id) sorts as is wanted
  for (int64_t t = 0; t < columns.tokens; ++t) {
    for (int64_t id = 0; id < columns.centroid_count; ++id) {
      const float score = columns.row(id)[t];
      order[id] = {score > kMinusInfinity ? -score : -kMinusInfinity, id};  // NaN is -inf
    }
    std::partial_sort(order.begin(), order.begin() + count, order.end());
    for (int64_t i = 0; i < count; ++i) {
      scores[t * count + i] = -order[i].first;
      ids[t * count + i] = order[i].second;
    }
  }
}

}  // namespace

void nearest_centroids(const Machine& machine, const float* vectors, int64_t vector_count, const float* centroids,
                       int64_t centroid_count, int64_t dim, int64_t count, int64_t* ids, float* scores) {
  const VectorKernels& kernels = machine.kernels;
  const Panels panels(kernels, centroids, centroid_count, dim);
  const int64_t blocks = (vector_count + kRowsPerBlock - 1) / kRowsPerBlock;
  machine.pool.for_each(blocks, [&](int64_t block) {
    const int64_t first = block * kRowsPerBlock, rows = std::min(kRowsPerBlock, vector_count - first);
    const FloatBuffer products(rows * kColumnsPerStep);
    std::vector<Best> best;
    best.reserve(rows);
    for (int64_t r = 0; r < rows; ++r) best.emplace_back(ids + (first + r) * count, scores + (first + r) * count, count);
    for (int64_t column = 0; column < centroid_count; column += kColumnsPerStep) {
      const int64_t columns = std::min(kColumnsPerStep, centroid_count - column);
      kernels.inner_products(vectors + first * dim, rows, panels.data() + column * dim, columns, dim, products.data(),
                             kColumnsPerStep);
      for (int64_t r = 0; r < rows; ++r) {
        const float* row = products.data() + r * kColumnsPerStep;
        if (best[r].full() && !(kernels.maximum(row, columns) > best[r].last())) continue;
        for (int64_t c = 0; c < columns; ++c) best[r].add(column + c, row[c]);
      }
    }
  });
}

void inner_products(const Machine& machine, const float* rows, int64_t row_count, const float* columns,
                    int64_t column_count, int64_t dim, float* products) {
  const Panels panels(machine.kernels, columns, column_count, dim);
  const int64_t blocks = (row_count + kRowsPerBlock - 1) / kRowsPerBlock;
  constexpr int64_t kBlocksPerItem = 4;  // 1.5 million multiplications at 128 dimensions and 32 columns
  machine.pool.for_each((blocks + kBlocksPerItem - 1) / kBlocksPerItem, [&](int64_t item) {
    const int64_t last = std::min(blocks, (item + 1) * kBlocksPerItem);
    for (int64_t block = item * kBlocksPerItem; block < last; ++block) {
      const int64_t first = block * kRowsPerBlock, count = std::min(kRowsPerBlock, row_count - first);
      machine.kernels.inner_products(rows + first * dim, count, panels.data(), column_count, dim,
                                     products + first * column_count, column_count);
    }
  });
}

void best_centroids(const Machine& machine, const float* table, int64_t centroid_count, int64_t query_tokens,
                    int64_t count, int64_t* ids, float* scores) {
  const int64_t blocks = (query_tokens + kTokensPerBlock - 1) / kTokensPerBlock;
  machine.pool.for_each(blocks, [&](int64_t block) {
    const int64_t first = block * query_tokens / blocks, last = (block + 1) * query_tokens / blocks;  // about equal
    const Columns columns{table, centroid_count, query_tokens, first, last - first};
    (count <= kFew ? pick_few : pick_many)(columns, count, ids + first * count, scores + first * count);
  });
}

}  // namespace jcb
