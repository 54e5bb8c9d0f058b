// Postings of a store on a GPU, cut into ranges of documents that a block of accumulate_postings takes.
#pragma once
#include <cstdint>
#include <vector>

#include "cuda/device.h"
#include "cuda/posting_range.h"
#include "jcb/store.h"

namespace jcb::cuda {

class DevicePostings {
 public:
  // range_documents: 1 .. kMostRangeDocuments. Throws CorruptIndex where postings or their offsets point outside the
  // arrays or do not ascend, and DeviceError.
  DevicePostings(const StoreView& store, uint32_t range_documents, Stream stream);

  const PostingRange* ranges() const { return ranges_.data(); }
  uint32_t range_count() const { return static_cast<uint32_t>(ranges_.size()); }
  uint32_t most_documents() const { return most_documents_; }  // of a range

 private:
  const uint32_t most_documents_;
  std::vector<DeviceArray<uint64_t>> borders_;    // of each segment [ranges + 1][centroids]
  std::vector<DeviceArray<uint32_t>> documents_;  // of each segment
  DeviceArray<PostingRange> ranges_;
};

// So large that one query's 32 tokens fill the GPU with blocks, and no larger than shared memory holds bits for.
uint32_t range_documents_for(int64_t documents);

}  // namespace jcb::cuda
