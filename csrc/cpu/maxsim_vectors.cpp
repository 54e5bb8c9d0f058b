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
constexpr int64_t kTokensPerItem = 64;  // of queries: their gradients stay in the second-level cache at 1,024 dimensions

int64_t items_of(int64_t count, int64_t per_item) { return (count + per_item - 1) / per_item; }

// Documents of one item: 16 of a single query's, one of a training batch's, in which each is work enough for a thread.
int64_t documents_per_item(int64_t query_rows) {
  return std::clamp<int64_t>(512 / std::max<int64_t>(query_rows, 1), 1, 16);
}

// Rows of each block of a document: about kRowsPerBlock, and about equal, since every block reads all panels again. A
// multiple of 12, which all tiles divide but neon's.
int64_t rows_per_block(int64_t rows) {
  const int64_t blocks = std::max<int64_t>(1, (rows + kRowsPerBlock / 2) / kRowsPerBlock);
  return (rows + 12 * blocks - 1) / (12 * blocks) * 12;
}

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
    const int64_t whole_block = rows_per_block(count);
    for (int64_t first = 0; first < count; first += whole_block) {
      const int64_t block = std::min(whole_block, count - first);
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

// Gradients of sum(grad * scores). Sums have one order, whatever the threads: each owns the rows that it adds to.
template <class Winner>
class Gradient {
 public:
  Gradient(const Machine& machine, int64_t dim, const float* grad, const RaggedView& queries,
           const RaggedView& documents, const Winner* winners)
      : machine_(machine), dim_(dim), grad_(grad), queries_(queries), documents_(documents), winners_(winners),
        query_of_(query_of_token(queries)) {}

  void of_queries(float* target) const {
    machine_.pool.for_each(items_of(queries_.rows(), kTokensPerItem), [&](int64_t item) {
      const int64_t first = item * kTokensPerItem, last = std::min(queries_.rows(), first + kTokensPerItem);
      std::fill(target + first * dim_, target + last * dim_, 0.0f);
      for (int64_t n = 0; n < documents_.texts; ++n) {
        for_each_winner(n, first, last, [&](int64_t token, int64_t row, float weight) {
          machine_.kernels.add_scaled(documents_.values + row * dim_, dim_, weight, target + token * dim_);
        });
      }
    });
  }

  void of_documents(float* target) const {
    const int64_t per_item = documents_per_item(queries_.rows());
    machine_.pool.for_each(items_of(documents_.texts, per_item), [&](int64_t item) {
      const int64_t last = std::min(documents_.texts, (item + 1) * per_item);
      for (int64_t n = item * per_item; n < last; ++n) {
        std::fill(target + documents_.offsets[n] * dim_, target + documents_.offsets[n + 1] * dim_, 0.0f);
        for_each_winner(n, 0, queries_.rows(), [&](int64_t token, int64_t row, float weight) {
          machine_.kernels.add_scaled(queries_.values + token * dim_, dim_, weight, target + row * dim_);
        });
      }
    });
  }

 private:
  // add(token, row, weight) for query tokens first:last. An empty document has no row, and weight 0 adds nothing: not
  // even NaN, where a vector is infinite.
  template <class Add>
  void for_each_winner(int64_t n, int64_t first, int64_t last, const Add& add) const {
    if (documents_.offsets[n] == documents_.offsets[n + 1]) return;
    for (int64_t token = first; token < last; ++token) {
      const int64_t row = checked_winner(documents_, n, winners_[n * queries_.rows() + token]);
      const float weight = grad_[query_of_[token] * documents_.texts + n];
      if (weight != 0.0f) add(token, row, weight);
    }
  }

  const Machine& machine_;
  const int64_t dim_;
  const float* grad_;
  const RaggedView& queries_;
  const RaggedView& documents_;
  const Winner* winners_;
  const std::vector<int64_t> query_of_;
};

}  // namespace

template <class Winner>
void maxsim_vectors(const Machine& machine, int64_t dim, const RaggedView& queries, const RaggedView& documents,
                    float* scores, Winner* winners) {
  const Panels panels(machine.kernels, queries.values, queries.rows(), dim);
  const int64_t per_item = documents_per_item(queries.rows());
  machine.pool.for_each(items_of(documents.texts, per_item), [&](int64_t item) {
    Maxima maxima(machine.kernels, panels, dim, winners != nullptr);
    const int64_t last = std::min(documents.texts, (item + 1) * per_item);
    for (int64_t n = item * per_item; n < last; ++n) {
      const int64_t first_row = documents.offsets[n], rows = documents.offsets[n + 1] - first_row;
      maxima.find(documents.values + first_row * dim, rows);
      for (int64_t q = 0; q < queries.texts; ++q) {
        float sum = 0.0f;
        for (int64_t c = queries.offsets[q]; c < queries.offsets[q + 1]; ++c) sum += maxima.best[c];
        scores[q * documents.texts + n] = rows == 0 ? kMinusInfinity : sum;
      }
      for (int64_t c = 0; winners != nullptr && c < queries.rows(); ++c) {
        winners[n * queries.rows() + c] = static_cast<Winner>(rows == 0 ? -1 : first_row + maxima.rows[c]);
      }
    }
  });
}

template <class Winner>
void maxsim_vectors_backward(const Machine& machine, int64_t dim, const float* grad, const RaggedView& queries,
                             const RaggedView& documents, const Winner* winners, float* grad_queries,
                             float* grad_vectors) {
  const Gradient<Winner> gradient(machine, dim, grad, queries, documents, winners);
  if (grad_queries != nullptr) gradient.of_queries(grad_queries);
  if (grad_vectors != nullptr) gradient.of_documents(grad_vectors);
}

template void maxsim_vectors(const Machine&, int64_t, const RaggedView&, const RaggedView&, float*, int32_t*);
template void maxsim_vectors(const Machine&, int64_t, const RaggedView&, const RaggedView&, float*, int64_t*);
template void maxsim_vectors_backward(const Machine&, int64_t, const float*, const RaggedView&, const RaggedView&,
                                      const int32_t*, float*, float*);
template void maxsim_vectors_backward(const Machine&, int64_t, const float*, const RaggedView&, const RaggedView&,
                                      const int64_t*, float*, float*);

}  // namespace jcb
