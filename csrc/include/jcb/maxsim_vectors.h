// MaxSim over plain fp32 vectors, with its winners and its gradient.
//
// queries: [Q, D], query_offsets: [queries + 1]; vectors: [T, D], doc_offsets: [N + 1]. The caller has checked that
// offsets rise from 0 to the number of rows. A document without vectors scores -inf, and a query without tokens 0.
#pragma once
#include <cstdint>

#include "jcb/machine.h"

namespace jcb {

struct RaggedView {
  const float* values = nullptr;     // [rows, D]
  const int64_t* offsets = nullptr;  // [texts + 1]
  int64_t texts = 0;

  int64_t rows() const { return offsets[texts]; }
};

// scores: [queries, N]. winners: null, or [N, Q]: the row of `vectors` that each query token matched best, the first one
// in a tie; -1 where the document is empty. Winner: int32_t, where there are fewer than 2^31 rows, or int64_t.
template <class Winner>
void maxsim_vectors(const Machine& machine, int64_t dim, const RaggedView& queries, const RaggedView& documents,
                    float* scores, Winner* winners);

// grad: [queries, N], winners as above -> grad_queries: [Q, D] and grad_vectors: [T, D] of sum(grad * scores), each left
// out where it is null. Throws std::invalid_argument on a winner that is not a row of its document.
template <class Winner>
void maxsim_vectors_backward(const Machine& machine, int64_t dim, const float* grad, const RaggedView& queries,
                             const RaggedView& documents, const Winner* winners, float* grad_queries,
                             float* grad_vectors);

}  // namespace jcb
