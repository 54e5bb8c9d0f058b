// Products with centroids: the nearest ones (k-means, encoding), all of them (score tables), the best of a table.
#pragma once
#include <cstdint>

#include "jcb/machine.h"

namespace jcb {

// ids, scores: [vector_count, count]: the `count` largest inner products of every vector [D] with centroids [K, D], the
// best first, the lower id first in a tie; 1 <= count <= K. A NaN product counts as -inf.
void nearest_centroids(const Machine& machine, const float* vectors, int64_t vector_count, const float* centroids,
                       int64_t centroid_count, int64_t dim, int64_t count, int64_t* ids, float* scores);

// A table may be read this many floats beyond its end, because registers are filled whole: allocate them.
inline constexpr int64_t kTablePadding = 64;

// products: [rows, columns] inner products of rows [rows, D] and columns [columns, D], such as the table [K, Q] of
// centroids and queries.
void inner_products(const Machine& machine, const float* rows, int64_t row_count, const float* columns,
                    int64_t column_count, int64_t dim, float* products);

// ids, scores: [Q, count]: the best centroids of every query token out of a table [K, Q], as nearest_centroids has them.
void best_centroids(const Machine& machine, const float* table, int64_t centroid_count, int64_t query_tokens,
                    int64_t count, int64_t* ids, float* scores);

}  // namespace jcb
