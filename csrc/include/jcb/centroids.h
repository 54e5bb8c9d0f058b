// Products with centroids: the nearest ones (k-means, encoding, coarse search) and all of them (score tables).
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

// table: [K, Q] inner products of centroids [K, D] and queries [Q, D].
void centroid_scores(const Machine& machine, const float* centroids, int64_t centroid_count, const float* queries,
                     int64_t query_tokens, int64_t dim, float* table);

}  // namespace jcb
