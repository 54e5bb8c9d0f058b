#include "jcb/maxsim_vectors.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/panels.h"

namespace jcb {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr int64_t kDocumentsPerItem = 16;

int64_t items_of(int64_t count, int64_t per_item) { return (count + per_item - 1) / per_item; }

// What the tokens of all queries find best in one document.
class Maxima {
 public:
  Maxima(const VectorKernels& kernels, const Panels& panels, int64_t dim, bool with_winners)
      : kernels_(kernels), panels_(panels), dim_(dim), best(panels.columns()) {
    if (with_winners) rows.resize(panels.columns());
  }

  void find(const float* vectors, int64_t count) {
    std::fill(best.begin(), best.end(), kMinusInfinity);
    std::fill(rows.begin(), rows.end(), 0);
    for (int64_t first = 0; first < count; first += kRowsPerBlock) {
      const int64_t block = std::min(kRowsPerBlock, count - first);
      if (rows.empty()) {
        kernels_.max_inner_products(vectors + first * dim_, block, panels_.data(), panels_.count(), dim_, best.data());
      } else {
        kernels_.argmax_inner_products(vectors + first * dim_, block, panels_.data(), panels_.count(), dim_,
                                       static_cast<int32_t>(first), best.data(), rows.data());
      }
    }
  }

 private:
  const VectorKernels& kernels_;
  const Panels& panels_;
  int64_t dim_;

 public:
  std::vector<float> best;    // [columns]
  std::vector<int32_t> rows;  // [columns] or empty: within the document
};

std::vector<int64_t> query_of_token(const RaggedView& queries) {
  std::vector<int64_t> numbers;
  for (int64_t q = 0; q < queries.texts; ++q) numbers.resize(queries.offsets[q + 1], q);
  return numbers;
}

// A winner's row; -1 is passed through for an empty document alone.
int64_t checked_winner(const RaggedView& documents, int64_t document, int64_t row) {
  const int64_t first = documents.offsets[document], last = documents.offsets[document + 1];
  if (row < first || row >= last) {
    throw std::invalid_argument("argmax names row " + std::to_string(row) + " for document " +
                                std::to_string(document) + ", which owns rows " + std::to_string(first) + ":" +
                                std::to_string(last));
  }
  return row;
}

}  // namespace

void maxsim_vectors(const Machine& machine, int64_t dim, const RaggedView& queries, const RaggedView& documents,
                    float* scores, int64_t* winners) {
  const Panels panels(machine.kernels, queries.values, queries.rows(), dim);
  machine.pool.for_each(items_of(documents.texts, kDocumentsPerItem), [&](int64_t item) {
    Maxima maxima(machine.kernels, panels, dim, winners != nullptr);
    const int64_t last = std::min(documents.texts, (item + 1) * kDocumentsPerItem);
    for (int64_t n = item * kDocumentsPerItem; n < last; ++n) {
      const int64_t first_row = documents.offsets[n], rows = documents.offsets[n + 1] - first_row;
      maxima.find(documents.values + first_row * dim, rows);
      for (int64_t q = 0; q < queries.texts; ++q) {
        float sum = 0.0f;
        for (int64_t c = queries.offsets[q]; c < queries.offsets[q + 1]; ++c) sum += maxima.best[c];
        scores[q * documents.texts + n] = rows == 0 ? kMinusInfinity : sum;
      }
      for (int64_t c = 0; winners != nullptr && c < queries.rows(); ++c) {
        winners[n * queries.rows() + c] = rows == 0 ? -1 : first_row + maxima.rows[c];
      }
    }
  });
}

void maxsim_vectors_backward(const Machine& machine, int64_t dim, const float* grad, const RaggedView& queries,
                             const RaggedView& documents, const int64_t* winners, float* grad_queries,
                             float* grad_vectors) {
  const std::vector<int64_t> query_of = query_of_token(queries);
  const int64_t query_rows = queries.rows();
  const auto weight = [&](int64_t token, int64_t n) { return grad[query_of[token] * documents.texts + n]; };
  const auto is_empty = [&](int64_t n) { return documents.offsets[n] == documents.offsets[n + 1]; };

  // Every thread owns the rows that it adds to: query tokens here, whole documents below. So sums have one order.
  machine.pool.for_each(query_rows, [&](int64_t token) {
    float* target = grad_queries + token * dim;
    std::fill_n(target, dim, 0.0f);
    for (int64_t n = 0; n < documents.texts; ++n) {
      if (is_empty(n)) continue;
      const int64_t row = checked_winner(documents, n, winners[n * query_rows + token]);
      machine.kernels.add_scaled(documents.values + row * dim, dim, weight(token, n), target);
    }
  });
  machine.pool.for_each(items_of(documents.texts, kDocumentsPerItem), [&](int64_t item) {
    const int64_t last = std::min(documents.texts, (item + 1) * kDocumentsPerItem);
    for (int64_t n = item * kDocumentsPerItem; n < last; ++n) {
      std::fill(grad_vectors + documents.offsets[n] * dim, grad_vectors + documents.offsets[n + 1] * dim, 0.0f);
      if (is_empty(n)) continue;
      for (int64_t token = 0; token < query_rows; ++token) {
        const int64_t row = checked_winner(documents, n, winners[n * query_rows + token]);
        machine.kernels.add_scaled(queries.values + token * dim, dim, weight(token, n), grad_vectors + row * dim);
      }
    }
  });
}

}  // namespace jcb
