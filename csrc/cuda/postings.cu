#include "cuda/postings.h"

#include <algorithm>
#include <string>

namespace jcb::cuda {
namespace {

constexpr int64_t kRangesWanted = 16;  // 32 tokens in each are four blocks for a multiprocessor of a large GPU
constexpr int64_t kFewestRangeDocuments = 1 << 13;

[[noreturn]] void refuse(int64_t centroid, const std::string& what) {
  throw CorruptIndex("centroid " + std::to_string(centroid) + what + "; run `jcb-index verify`");
}

// Where the parts of each centroid's posting begin, range after range, and where the last one ends: [ranges + 1][centroids].
std::vector<uint64_t> borders_of(const SegmentView& segment, int64_t centroids, int64_t range_documents) {
  const int64_t ranges = (segment.documents + range_documents - 1) / range_documents;
  std::vector<uint64_t> borders(static_cast<size_t>((ranges + 1) * centroids));
  for (int64_t centroid = 0; centroid < centroids; ++centroid) {
    const int64_t begin = segment.posting_offsets[centroid], end = segment.posting_offsets[centroid + 1];
    if (begin < 0 || begin > end || end > segment.posting_count) {
      refuse(centroid, " owns postings " + std::to_string(begin) + ":" + std::to_string(end) + " of a segment that has " +
                           std::to_string(segment.posting_count) + ": posting_offsets are damaged");
    }
    int64_t range = 0, before = -1;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t document = segment.posting_documents[i];
      if (document <= before || document >= segment.documents) {
        refuse(centroid, " has document " + std::to_string(document) + " in its posting after " + std::to_string(before) +
                             ", and the segment has " + std::to_string(segment.documents) + ": postings are damaged");
      }
      for (; range * range_documents <= document; ++range) borders[range * centroids + centroid] = static_cast<uint64_t>(i);
      before = document;
    }
    for (; range <= ranges; ++range) borders[range * centroids + centroid] = static_cast<uint64_t>(end);
  }
  return borders;
}

}  // namespace

DevicePostings::DevicePostings(const StoreView& store, uint32_t range_documents, Stream stream)
    : most_documents_(range_documents) {
  std::vector<PostingRange> ranges;
  const int64_t centroids = store.codec.centroid_count;
  for (size_t s = 0; s < store.segments.size(); ++s) {
    const SegmentView& segment = store.segments[s];
    borders_.emplace_back(borders_of(segment, centroids, range_documents), stream);
    documents_.emplace_back(segment.posting_documents, static_cast<size_t>(segment.posting_count), stream);
    const uint64_t* borders = borders_.back().data();
    for (int64_t first = 0; first < segment.documents; first += range_documents, borders += centroids) {
      ranges.push_back({borders, borders + centroids, documents_.back().data(), static_cast<uint32_t>(first),
                        static_cast<uint32_t>(store.segment_starts[s] + first),
                        static_cast<uint32_t>(std::min<int64_t>(range_documents, segment.documents - first))});
    }
  }
  ranges_ = DeviceArray<PostingRange>(ranges, stream);
}

uint32_t range_documents_for(int64_t documents) {
  const int64_t even = (documents + kRangesWanted - 1) / kRangesWanted;
  return static_cast<uint32_t>(std::clamp<int64_t>(even, kFewestRangeDocuments, kMostRangeDocuments));
}

}  // namespace jcb::cuda
