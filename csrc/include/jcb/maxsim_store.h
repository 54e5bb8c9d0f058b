// MaxSim of queries over the documents of a store: what search calls. The rules are in jcb_engine/kernels/interface.py.
//
// All functions throw CorruptIndex where a document number, an offset or a centroid id points outside the arrays.
// scores: as in candidates.h. query_offsets: [query_count + 1], rising from 0.
#pragma once
#include <cstdint>

#include "jcb/candidates.h"
#include "jcb/machine.h"
#include "jcb/store.h"

namespace jcb {

// Every token is its centroid. table: [K, Q] of centroids.h, with kTablePadding floats behind its end. Not for raw codecs.
void maxsim_centroids(const Machine& machine, const StoreView& store, const float* table, int64_t query_tokens,
                      const int64_t* query_offsets, int64_t query_count, const Candidates& candidates, float* scores);

// Over decoded tokens: in small integers, or exact in fp32. table: as above, or null: then it is computed here.
void maxsim_quantized(const Machine& machine, const StoreView& store, const float* queries,
                      const int64_t* query_offsets, int64_t query_count, const Candidates& candidates, bool exact,
                      const float* table, float* scores);

// bounds: [query_count], of |fast - exact| for every document of the store; 0 for raw codecs, which are always exact.
void score_error_bound(const Machine& machine, const StoreView& store, const float* queries,
                       const int64_t* query_offsets, int64_t query_count, float* bounds);

}  // namespace jcb
