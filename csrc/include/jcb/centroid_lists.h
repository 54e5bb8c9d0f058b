// The nearest centroid among some lists of centroids: k-means and encoding where comparing all of them takes too long.
#pragma once
#include <cstdint>

#include "jcb/machine.h"

namespace jcb {

// K centroids parted into lists, none of them empty.
struct CentroidLists {
  const float* centroids;  // [K, D], list after list
  const uint32_t* ids;     // [K], the number of each
  const int64_t* offsets;  // [count + 1]
  int64_t count;
};

// ids: [vector_count]: the centroid with the largest inner product among the lists that a vector [D] probes, the lower
// id in a tie. probes: [vector_count, probe_count], at least 1, numbers below lists.count. A NaN product counts as -inf.
void nearest_in_lists(const Machine& machine, const float* vectors, int64_t vector_count, int64_t dim,
                      const CentroidLists& lists, const int64_t* probes, int64_t probe_count, uint32_t* ids);

}  // namespace jcb
