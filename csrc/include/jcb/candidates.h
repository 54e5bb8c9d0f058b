// Which documents of a store each query scores, and where the scores go. Documents are numbered through the store.
#pragma once
#include <cstdint>

namespace jcb {

// One of two forms. Lists: query i scores documents[list_offsets[i]:list_offsets[i + 1]], and scores has an entry per
// document. Ranges: every query scores starts[r]:ends[r] of all ranges, and scores is [queries, sum(ends - starts)].
// The caller has checked that list_offsets rises from 0 and that 0 <= starts[r] <= ends[r]; document numbers are checked
// where they are used.
struct Candidates {
  const uint32_t* documents = nullptr;     // set for lists
  const int64_t* list_offsets = nullptr;   // set for lists
  const int64_t* starts = nullptr;
  const int64_t* ends = nullptr;
  int64_t range_count = 0;

  bool are_lists() const { return list_offsets != nullptr; }
};

}  // namespace jcb
