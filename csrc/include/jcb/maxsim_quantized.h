// Fused decompress + MaxSim over stored tokens (contract; the rules are in jcb_engine/kernels/interface.py).
//
//   score(query, document) = sum over q of max over tokens t of norm_t * (S[id_t][q] + sigma_t * <q, levels[code_t]>)
//
// "fast" works in small integers and stays within error_bound() of "exact", which is fp32 throughout.
#pragma once
#include <cstdint>
#include <memory>

#include "jcb/store.h"
#include "jcb/thread_pool.h"

namespace jcb {

// Everything about the queries of one call that does not depend on documents: quantised query tables and the centroid
// scores in the form that the kernel of this instruction set reads. Made once, then read by all threads.
// One query has 1 to 1,024 tokens; D is any number >= 1.
class PreparedQueries {
 public:
  virtual ~PreparedQueries() = default;
  virtual int64_t query_count() const = 0;
  // Makes what score_fast needs of a query, on the threads of a pool. Left out, score_fast makes it on its own.
  virtual void make_ready(int64_t query, const ThreadPool& pool) const = 0;
  // Fast scores of one document run for one query. `documents` are local to the segment; scores[i] answers documents[i].
  // Throws CorruptIndex on a document, centroid id or offset outside the arrays. Thread-safe.
  virtual void score_fast(const SegmentView& segment, int64_t query, const uint32_t* documents, int64_t count,
                          float* scores) const = 0;
  // The same in fp32 over decoded vectors.
  virtual void score_exact(const SegmentView& segment, int64_t query, const uint32_t* documents, int64_t count,
                           float* scores) const = 0;
  // Bound of |fast - exact| for every document of a store whose largest sigma and norm are these.
  virtual float error_bound(int64_t query, float max_sigma, float max_norm) const = 0;
};

// queries: [Q, D] fp32 in the rotated basis; query_offsets: [queries + 1].
// centroid_scores: [K, Q] fp32, row per centroid (Q = all query tokens of the call), computed by inner_products of centroids.h.
// May be null for error_bound() alone. The pointers must outlive the object.
using PrepareQueriesFunction = std::unique_ptr<PreparedQueries> (*)(const CodecView& codec, const float* queries,
                                                                    const int64_t* query_offsets, int64_t query_count,
                                                                    const float* centroid_scores);

// One per instruction set, each compiled in its own translation unit with that set's flags.
std::unique_ptr<PreparedQueries> prepare_queries_scalar(const CodecView&, const float*, const int64_t*, int64_t,
                                                        const float*);
#if defined(__x86_64__) || defined(JCB_SIMDE)
std::unique_ptr<PreparedQueries> prepare_queries_avx2(const CodecView&, const float*, const int64_t*, int64_t,
                                                      const float*);
std::unique_ptr<PreparedQueries> prepare_queries_avx512(const CodecView&, const float*, const int64_t*, int64_t,
                                                        const float*);
#endif
#if defined(__aarch64__) || defined(JCB_SIMDE)
std::unique_ptr<PreparedQueries> prepare_queries_neon(const CodecView&, const float*, const int64_t*, int64_t,
                                                      const float*);
#endif

}  // namespace jcb
