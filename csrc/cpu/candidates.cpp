#include "cpu/candidates.h"

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

namespace jcb {
namespace {

// About 5,000 tokens, a tenth of a millisecond: small enough to share out, large enough to hide the sharing. Where there
// are few documents, blocks are smaller, so that all threads get some; what a document scores depends on no other.
constexpr int64_t kMostPerBlock = 32, kLeastPerBlock = 4, kBlocksWanted = 16;

// Candidates `first`..`first + count` of one query, as numbers through the store, and where their scores begin.
struct Block {
  int64_t query;
  int64_t first;
  int64_t count;
  float* scores;
};

// The blocks of all queries, numbered so that the queries of ranges follow each other on the same documents.
class Blocks {
 public:
  Blocks(int64_t query_count, const Candidates& candidates, float* scores)
      : candidates_(candidates), query_count_(query_count), scores_(scores) {
    if (candidates.are_lists()) {
      size_blocks(candidates.list_offsets[query_count]);
      block_offsets_.push_back(0);
      for (int64_t q = 0; q < query_count; ++q) {
        const int64_t documents = candidates.list_offsets[q + 1] - candidates.list_offsets[q];
        block_offsets_.push_back(block_offsets_.back() + blocks_of(documents));
      }
    } else {
      range_offsets_.push_back(0);
      for (int64_t r = 0; r < candidates.range_count; ++r) {
        range_offsets_.push_back(range_offsets_.back() + candidates.ends[r] - candidates.starts[r]);
      }
      size_blocks(range_offsets_.back() * query_count);
    }
  }

  int64_t count() const {
    return candidates_.are_lists() ? block_offsets_.back() : query_count_ * blocks_of(range_offsets_.back());
  }

  Block block(int64_t number) const {
    if (!candidates_.are_lists()) {
      const int64_t query = number % query_count_, total = range_offsets_.back();
      const int64_t first = number / query_count_ * per_block_;
      return {query, first, std::min(per_block_, total - first), scores_ + query * total + first};
    }
    const int64_t query = index_of(block_offsets_, number);
    const int64_t first = candidates_.list_offsets[query] + (number - block_offsets_[query]) * per_block_;
    return {query, first, std::min(per_block_, candidates_.list_offsets[query + 1] - first), scores_ + first};
  }

  // The documents of a block, numbered through the store.
  void documents(const Block& block, int64_t* documents) const {
    if (candidates_.are_lists()) {
      std::copy_n(candidates_.documents + block.first, block.count, documents);
      return;
    }
    int64_t range = index_of(range_offsets_, block.first);
    for (int64_t i = 0; i < block.count; ++i) {
      while (block.first + i >= range_offsets_[range + 1]) ++range;
      documents[i] = candidates_.starts[range] + block.first + i - range_offsets_[range];
    }
  }

 private:
  void size_blocks(int64_t documents) {
    per_block_ = std::clamp(documents / kBlocksWanted, kLeastPerBlock, kMostPerBlock);
  }

  int64_t blocks_of(int64_t documents) const { return (documents + per_block_ - 1) / per_block_; }

  // The i with offsets[i] <= value < offsets[i + 1].
  static int64_t index_of(const std::vector<int64_t>& offsets, int64_t value) {
    return std::upper_bound(offsets.begin(), offsets.end(), value) - offsets.begin() - 1;
  }

  const Candidates& candidates_;
  int64_t query_count_;
  float* scores_;
  int64_t per_block_ = kMostPerBlock;
  std::vector<int64_t> block_offsets_, range_offsets_;
};

// Scores a block segment by segment; candidates may mix segments in any order.
void score_block_by_segment(const StoreView& store, const Block& block, const int64_t* documents,
                            const ScoreBlock& score_block) {
  int64_t segments[kMostPerBlock];
  for (int64_t i = 0; i < block.count; ++i) segments[i] = segment_of(store, documents[i]);
  bool scored[kMostPerBlock] = {};
  for (int64_t begin = 0; begin < block.count; ++begin) {
    if (scored[begin]) continue;
    uint32_t local[kMostPerBlock];
    int64_t places[kMostPerBlock], count = 0;
    float scores[kMostPerBlock];
    for (int64_t i = begin; i < block.count; ++i) {
      if (segments[i] != segments[begin]) continue;
      scored[i] = true;
      local[count] = static_cast<uint32_t>(documents[i] - store.segment_starts[segments[i]]);
      places[count++] = i;
    }
    score_block(store.segments[segments[begin]], block.query, local, count, scores);
    for (int64_t i = 0; i < count; ++i) block.scores[places[i]] = scores[i];
  }
}

}  // namespace

void score_candidates(const ThreadPool& pool, const StoreView& store, int64_t query_count, const Candidates& candidates,
                      const ScoreBlock& score_block, float* scores) {
  const Blocks blocks(query_count, candidates, scores);
  pool.for_each(blocks.count(), [&](int64_t number) {
    const Block block = blocks.block(number);
    int64_t documents[kMostPerBlock];
    blocks.documents(block, documents);
    score_block_by_segment(store, block, documents, score_block);
  });
}

int64_t segment_of(const StoreView& store, int64_t document) {
  if (document < 0 || document >= store.documents()) {
    throw CorruptIndex("document " + std::to_string(document) + " was asked for; the store has " +
                       std::to_string(store.documents()));
  }
  const auto& starts = store.segment_starts;
  return std::upper_bound(starts.begin(), starts.end(), document) - starts.begin() - 1;
}

TokenRange tokens_of(const SegmentView& segment, uint32_t document) {
  const int64_t first = segment.doc_offsets[document], last = segment.doc_offsets[document + int64_t{1}];
  if (first < 0 || first > last || last > segment.tokens) {
    throw CorruptIndex("document " + std::to_string(document) + " has tokens " + std::to_string(first) + " to " +
                       std::to_string(last) + " of a segment that has " + std::to_string(segment.tokens) +
                       ": doc_offsets are damaged; run `jcb-index verify`");
  }
  return {first, last};
}

void score_empty_query(const SegmentView& segment, const uint32_t* documents, int64_t count, float* scores) {
  for (int64_t i = 0; i < count; ++i) {
    scores[i] = tokens_of(segment, documents[i]).count() == 0 ? -std::numeric_limits<float>::infinity() : 0.0f;
  }
}

}  // namespace jcb
