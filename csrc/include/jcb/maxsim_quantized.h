// Fused decompress + MaxSim over stored tokens (contract; the rules are in jcb_engine/kernels/interface.py).
//
//   score(query, document) = sum over q of max over tokens t of norm_t * (S[id_t][q] + sigma_t * <q, levels[code_t]>)
//
// "fast" works in small integers and stays within error_bound() of "exact", which is fp32 throughout; with centroid scores
// in small integers as well (CentroidScoreView::words) it is only near.
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
  // Bound of |fast - exact| for every document of a store whose largest sigma and norm are these. Throws
  // std::logic_error where the queries were prepared with words.
  virtual float error_bound(int64_t query, float max_sigma, float max_norm) const = 0;
};

namespace maxsim {
struct Kernels;   // the loops of one instruction set: cpu/maxsim_quantized.h
class WordTable;  // cpu/word_table.h
}  // namespace maxsim

// Scores of all centroids for the query tokens of a call, which must outlive what is prepared with them. One of the two
// is set; neither, where there are no fast scores to make.
struct CentroidScoreView {
  const float* table = nullptr;  // [K, Q] fp32, row per centroid (Q = all query tokens of the call): inner_products of centroids.h
  const maxsim::WordTable* words = nullptr;  // in small integers: fast scores then have no bound
  double longest_centroid = 0.0;             // at least the length of each; 0 where it is not known
};

// At least the length of every centroid, and more by rounding alone; NaN counts nothing. pool may be null.
double longest_centroid(const CodecView& codec, const ThreadPool* pool);

// queries: [Q, D] fp32 in the rotated basis; query_offsets: [queries + 1]. The pointers must outlive the object.
std::unique_ptr<PreparedQueries> prepare_queries(const maxsim::Kernels& kernels, const CodecView& codec,
                                                 const float* queries, const int64_t* query_offsets,
                                                 int64_t query_count, CentroidScoreView scores);

// One per instruction set, each compiled in its own translation unit with that set's flags.
const maxsim::Kernels& maxsim_kernels_scalar();
#if defined(__x86_64__) || defined(JCB_SIMDE)
const maxsim::Kernels& maxsim_kernels_avx2();
const maxsim::Kernels& maxsim_kernels_avx512();
const maxsim::Kernels& maxsim_kernels_amx();  // defined where the compiler knows AMX (JCB_HAVE_AMX)
#endif
#if defined(__aarch64__) || defined(JCB_SIMDE)
const maxsim::Kernels& maxsim_kernels_neon();
#endif

}  // namespace jcb
