// From probed centroids to candidate documents, with approximate scores.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "jcb/machine.h"
#include "jcb/store.h"

namespace jcb {

struct Probes {
  int64_t probe_count = 0;             // P
  const int64_t* centroid_ids = nullptr;  // [Q, P]
  const float* scores = nullptr;          // [Q, P], finite
  const float* frontier = nullptr;        // [Q], finite
};

// Per query, documents numbered through the store: higher scores first, then lower numbers.
struct RankedDocuments {
  std::vector<uint32_t> documents;
  std::vector<float> scores;
  std::vector<int64_t> list_offsets;  // [queries + 1]
};

struct PostingScratch;  // an entry per document of a part of the store

// Scratch memory that outlives calls: filling it with zeros at every query would cost more than the query.
class PostingScratchPool {
 public:
  PostingScratchPool();
  ~PostingScratchPool();

  std::unique_ptr<PostingScratch> take();
  void give_back(std::unique_ptr<PostingScratch> scratch);

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<PostingScratch>> free_;
};

// score(d) = sum over the query's tokens q of max(frontier_q, best score of the probes of q whose posting holds d), for
// every document in the posting of a probe; the `limit` best of them. mask: null, or a bitmap of the documents allowed.
// Throws CorruptIndex on a centroid, posting or document outside the arrays and on postings that do not ascend,
// std::invalid_argument on scores that are not finite.
RankedDocuments accumulate_postings(const Machine& machine, const StoreView& store, PostingScratchPool& scratch_pool,
                                    const Probes& probes, const int64_t* query_offsets, int64_t query_count,
                                    int64_t limit, const uint8_t* mask);

}  // namespace jcb
