// A part of the postings, as a block of accumulate_postings takes it. Used by host code and by kernels.
#pragma once
#include <cstdint>

namespace jcb::cuda {

constexpr uint32_t kMostRangeDocuments = 1 << 18;  // a bit for each is 32 KB of shared memory

// Documents of one segment that follow each other: `first` in the segment, `start` in the store. begins, ends: [centroids],
// places in `documents` of what the posting of a centroid holds of them.
struct PostingRange {
  const uint64_t *begins, *ends;
  const uint32_t* documents;
  uint32_t first, start, count;
};

}  // namespace jcb::cuda
