// Splits candidates into blocks of documents of one query and one segment, and runs them on the pool.
#pragma once
#include <functional>

#include "jcb/candidates.h"
#include "jcb/store.h"
#include "jcb/thread_pool.h"

namespace jcb {

// Scores `count` documents, local to the segment, for one query: scores[i] answers documents[i].
using ScoreBlock = std::function<void(const SegmentView& segment, int64_t query, const uint32_t* documents,
                                      int64_t count, float* scores)>;

// Calls score_block for all candidates of all queries, from several threads. Throws CorruptIndex on a document number
// that the store does not have.
void score_candidates(const ThreadPool& pool, const StoreView& store, int64_t query_count, const Candidates& candidates,
                      const ScoreBlock& score_block, float* scores);

// The segment that holds a document. Throws CorruptIndex where the store has no document of that number.
int64_t segment_of(const StoreView& store, int64_t document);

struct TokenRange {
  int64_t first, last;

  int64_t count() const { return last - first; }
};

// The tokens of a document of the segment. Throws CorruptIndex where they lie outside the arrays.
TokenRange tokens_of(const SegmentView& segment, uint32_t document);

// The scores of documents for a query without tokens: 0, or -inf for a document without tokens.
void score_empty_query(const SegmentView& segment, const uint32_t* documents, int64_t count, float* scores);

}  // namespace jcb
