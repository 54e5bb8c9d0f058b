// MaxSim of queries over the documents of a store: what search calls. The rules are in jcb_engine/kernels/interface.py.
//
// All functions throw CorruptIndex where a document number, an offset or a centroid id points outside the arrays.
// scores: as in candidates.h. query_offsets: [query_count + 1], rising from 0.
#pragma once
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "jcb/candidates.h"
#include "jcb/centroid_table.h"
#include "jcb/machine.h"
#include "jcb/store.h"

namespace jcb {

// True when `values` holds the bits of `known`; NaN equals itself, and no values need no pointer.
inline bool same_bits(const std::vector<float>& known, const float* values) {
  return known.empty() || std::memcmp(known.data(), values, known.size() * sizeof(float)) == 0;
}

// Queries prepared for scoring coded tokens: made once, then used for a scan, its error bound and the exact scores of
// what it found. Keeps copies of queries and offsets, pointers to the codec's arrays and to the table. Thread-safe.
class PreparedCall {
 public:
  // scores: without any, there are no fast scores; with words, no error_bound(). Not for raw codecs.
  PreparedCall(const Machine& machine, const CodecView& codec, const float* queries, const int64_t* query_offsets,
               int64_t query_count, CentroidScoreView scores);

  // True when these are the queries and offsets, bit by bit, and the machine prepares with the same instructions.
  bool is_for(const Machine& machine, const float* queries, const int64_t* query_offsets, int64_t query_count) const;

  int64_t query_count() const { return static_cast<int64_t>(query_offsets_.size()) - 1; }

  // Makes what fast scores need, on the threads of a pool.
  void make_ready(const ThreadPool& pool) const;

  // Scores documents of one segment for one query, as PreparedQueries does, and for a query of any length.
  void score(const SegmentView& segment, int64_t query, const uint32_t* documents, int64_t count, bool exact,
             float* scores) const;
  // Bound of |fast - exact| for every document of the segment.
  float error_bound(const CodecView& codec, const SegmentView& segment, int64_t query) const;

 private:
  const maxsim::Kernels* kernels_;
  std::vector<float> queries_;
  std::vector<int64_t> query_offsets_;
  // Queries are cut into pieces of a length that PreparedQueries takes; a query without tokens has none.
  std::vector<int64_t> piece_offsets_;  // [pieces + 1] in query tokens
  std::vector<int64_t> first_piece_;    // [queries + 1]
  std::unique_ptr<PreparedQueries> pieces_;
};

// Every token is its centroid. Not for raw codecs.
void maxsim_centroids(const Machine& machine, const StoreView& store, const CentroidTable& table,
                      const int64_t* query_offsets, int64_t query_count, const Candidates& candidates, float* scores);

// Over decoded tokens: in small integers, or exact in fp32.
void maxsim_quantized(const Machine& machine, const StoreView& store, const PreparedCall& call,
                      const Candidates& candidates, bool exact, float* scores);

// bounds: [query_count], of |fast - exact| for every document of the store.
void score_error_bound(const StoreView& store, const PreparedCall& call, float* bounds);

// Over stored fp16 vectors, decoded to fp32 a few rows at a time and multiplied there: for raw codecs, always exact.
void maxsim_raw(const Machine& machine, const StoreView& store, const float* queries, const int64_t* query_offsets,
                int64_t query_count, const Candidates& candidates, float* scores);

}  // namespace jcb
