#include "jcb/centroids.h"

#include <limits>
#include <vector>

#include "cpu/panels.h"

namespace jcb {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr int64_t kColumnsPerStep = 512;  // products held before the best are picked: 192 KB with kRowsPerBlock rows

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

void centroid_scores(const Machine& machine, const float* centroids, int64_t centroid_count, const float* queries,
                     int64_t query_tokens, int64_t dim, float* table) {
  const Panels panels(machine.kernels, queries, query_tokens, dim);
  const int64_t blocks = (centroid_count + kRowsPerBlock - 1) / kRowsPerBlock;
  constexpr int64_t kBlocksPerItem = 8;  // 3 million multiplications at 128 dimensions and 32 query tokens
  machine.pool.for_each((blocks + kBlocksPerItem - 1) / kBlocksPerItem, [&](int64_t item) {
    const int64_t last = std::min(blocks, (item + 1) * kBlocksPerItem);
    for (int64_t block = item * kBlocksPerItem; block < last; ++block) {
      const int64_t first = block * kRowsPerBlock, rows = std::min(kRowsPerBlock, centroid_count - first);
      machine.kernels.inner_products(centroids + first * dim, rows, panels.data(), query_tokens, dim,
                                     table + first * query_tokens, query_tokens);
    }
  });
}

}  // namespace jcb
