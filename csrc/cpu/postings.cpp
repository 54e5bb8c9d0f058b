#include "jcb/postings.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

#include "jcb/read_ahead.h"

namespace jcb {
namespace {

// A segment is taken in parts of so many documents at most. The scratch of a part is 1 MB, which the caches hold where
// that of a whole large segment would not fit, and the parts of one query can go to several threads.
constexpr int64_t kDocumentsPerPart = 1 << 17;
// Parts of a query that threads share are not smaller: to find a part's place in a posting takes as long as some entries.
constexpr int64_t kSmallestPart = 1 << 10;

// A score and a document as one integer whose ascending order is ours: higher scores first, then lower numbers.
uint64_t rank_key(float score, uint32_t document) {
  const uint32_t bits = std::bit_cast<uint32_t>(score + 0.0f);  // + 0 makes one zero of two
  const uint32_t ascending = bits & 0x80000000 ? ~bits : bits | 0x80000000;
  return static_cast<uint64_t>(~ascending) << 32 | document;
}

uint32_t document_of(uint64_t key) { return static_cast<uint32_t>(key); }

float score_of(uint64_t key) {
  const uint32_t ascending = ~static_cast<uint32_t>(key >> 32);
  return std::bit_cast<float>(ascending & 0x80000000 ? ascending & 0x7fffffff : ~ascending);
}

void keep_best(std::vector<uint64_t>& keys, int64_t limit) {
  if (static_cast<int64_t>(keys.size()) <= limit) return;
  std::nth_element(keys.begin(), keys.begin() + limit, keys.end());
  keys.resize(limit);
}

// Documents first..last of a segment, numbers local to it.
struct Part {
  const SegmentView* segment;
  int64_t segment_start;
  int64_t first, last;
};

// wanted: parts that can be worked on at once.
std::vector<Part> parts_of(const StoreView& store, int64_t wanted) {
  const int64_t share = (store.documents() + wanted - 1) / wanted;
  const int64_t most = std::clamp(share, kSmallestPart, kDocumentsPerPart);
  std::vector<Part> parts;
  for (size_t s = 0; s < store.segments.size(); ++s) {
    const int64_t documents = store.segments[s].documents;
    for (int64_t first = 0; first < documents; first += most) {
      const int64_t last = std::min(documents, first + most);
      parts.push_back({&store.segments[s], store.segment_starts[s], first, last});
    }
  }
  return parts;
}

struct Posting {
  const uint32_t* begin;
  const uint32_t* end;
};

Posting whole_posting(const SegmentView& segment, int64_t centroid) {
  const int64_t first = segment.posting_offsets[centroid], last = segment.posting_offsets[centroid + 1];
  if (first < 0 || first > last || last > segment.posting_count) {
    throw CorruptIndex("centroid " + std::to_string(centroid) + " owns postings " + std::to_string(first) + ":" +
                       std::to_string(last) + " of a segment that has " + std::to_string(segment.posting_count) +
                       ": posting_offsets are damaged; run `jcb-index verify`");
  }
  return {segment.posting_documents + first, segment.posting_documents + last};
}

// What a posting holds of a part. Documents of other parts in between are found out by the reader.
Posting posting_of(const Part& part, int64_t centroid) {
  const SegmentView& segment = *part.segment;
  Posting posting = whole_posting(segment, centroid);
  if (part.first > 0) posting.begin = std::lower_bound(posting.begin, posting.end, part.first);
  if (part.last < segment.documents) posting.end = std::lower_bound(posting.begin, posting.end, part.last);
  return posting;
}

}  // namespace

struct PostingScratch {
  struct Entry {
    uint32_t row = 0;   // the row (below) that touched the document last
    float score = 0.0f;
  };
  std::vector<Entry> entries = std::vector<Entry>(kDocumentsPerPart);
  uint32_t rows_used = 0;  // rows are numbered from 1 through all calls, so that no entry need be cleared
  std::vector<uint32_t> touched = std::vector<uint32_t>(kDocumentsPerPart + 1);  // written one beyond those that count
  std::vector<int64_t> order;

  // The number before the first of `count` new rows.
  uint32_t begin_rows(int64_t count) {
    if (count > std::numeric_limits<uint32_t>::max() - rows_used) {
      std::fill(entries.begin(), entries.end(), Entry{});
      rows_used = 0;
    }
    const uint32_t before = rows_used;
    rows_used += static_cast<uint32_t>(count);
    return before;
  }
};

PostingScratchPool::PostingScratchPool() = default;
PostingScratchPool::~PostingScratchPool() = default;

// A mutex that another thread held during a fork stays locked in the child for ever. Hence try_lock: the child then
// allocates.
std::unique_ptr<PostingScratch> PostingScratchPool::take() {
  if (std::unique_lock lock(mutex_, std::try_to_lock); lock.owns_lock() && !free_.empty()) {
    std::unique_ptr<PostingScratch> scratch = std::move(free_.back());
    free_.pop_back();
    return scratch;
  }
  return std::make_unique<PostingScratch>();
}

void PostingScratchPool::give_back(std::unique_ptr<PostingScratch> scratch) {
  if (std::unique_lock lock(mutex_, std::try_to_lock); lock.owns_lock()) free_.push_back(std::move(scratch));
}

namespace {

// The best documents of one part for the query tokens first_row..last_row, as keys in no order.
std::vector<uint64_t> accumulate_part(const Part& part, PostingScratch& scratch, const Probes& probes,
                                      int64_t first_row, int64_t last_row, int64_t limit, const uint8_t* mask) {
  const uint32_t before = scratch.begin_rows(last_row - first_row);
  const float nothing_found = std::accumulate(probes.frontier + first_row, probes.frontier + last_row, 0.0f);
  PostingScratch::Entry* const entries = scratch.entries.data();
  uint32_t* const touched = scratch.touched.data();
  int64_t touched_count = 0;
  scratch.order.resize(probes.probe_count);
  for (int64_t row = first_row; row < last_row; ++row) {
    const uint32_t row_number = before + static_cast<uint32_t>(row - first_row) + 1;
    const float* scores = probes.scores + row * probes.probe_count;
    std::iota(scratch.order.begin(), scratch.order.end(), 0);
    // Best probe first: what holds a document first is then its best. A coarse search gives them so already.
    const auto better = [scores](int64_t a, int64_t b) { return scores[a] > scores[b]; };
    if (!std::is_sorted(scores, scores + probes.probe_count, std::greater<>())) {
      std::stable_sort(scratch.order.begin(), scratch.order.end(), better);
    }
    for (const int64_t probe : scratch.order) {
      const float gain = std::max(0.0f, scores[probe] - probes.frontier[row]);
      const Posting posting = posting_of(part, probes.centroid_ids[row * probes.probe_count + probe]);
      for (const uint32_t* p = posting.begin; p != posting.end; ++p) {
        const int64_t document = *p;
        if (document < part.first || document >= part.last) {
          throw CorruptIndex("a posting names document " + std::to_string(document) +
                             ", out of order or beyond the " + std::to_string(part.segment->documents) +
                             " of its segment: posting_documents are damaged; run `jcb-index verify`");
        }
        const int64_t number = part.segment_start + document;
        if (mask != nullptr && (mask[number >> 3] >> (number & 7) & 1) == 0) continue;
        // No branches: whether an earlier probe held the document is a coin toss to the processor.
        PostingScratch::Entry& entry = entries[document - part.first];
        const bool fresh = entry.row <= before;
        touched[touched_count] = static_cast<uint32_t>(document);
        touched_count += fresh;
        const float score = fresh ? nothing_found : entry.score;
        entry = {row_number, entry.row == row_number ? score : score + gain};
      }
    }
  }
  std::vector<uint64_t> keys;
  keys.reserve(touched_count);
  for (int64_t i = 0; i < touched_count; ++i) {
    const float score = entries[touched[i] - part.first].score;
    keys.push_back(rank_key(score, static_cast<uint32_t>(part.segment_start + touched[i])));
  }
  keep_best(keys, limit);
  return keys;
}

void check_probes(const StoreView& store, const Probes& probes, int64_t query_tokens) {
  for (int64_t i = 0; i < query_tokens * probes.probe_count; ++i) {
    const int64_t centroid = probes.centroid_ids[i];
    if (centroid < 0 || centroid >= store.codec.centroid_count) {
      throw CorruptIndex("centroid " + std::to_string(centroid) + " was probed; the codec has " +
                         std::to_string(store.codec.centroid_count));
    }
    if (!std::isfinite(probes.scores[i])) throw std::invalid_argument("a probe's score is not finite");
  }
  for (int64_t q = 0; q < query_tokens; ++q) {
    if (!std::isfinite(probes.frontier[q])) throw std::invalid_argument("a frontier score is not finite");
  }
}

void read_ahead_postings(const Machine& machine, const StoreView& store, const Probes& probes, int64_t query_tokens) {
  if (!machine.reads_ahead) return;
  const int64_t probe_count = query_tokens * probes.probe_count;
  for (const SegmentView& segment : store.segments) {
    const auto range = [&](int64_t number) {
      const Posting posting = whole_posting(segment, probes.centroid_ids[number]);
      return MemoryRange{reinterpret_cast<uintptr_t>(posting.begin), reinterpret_cast<uintptr_t>(posting.end)};
    };
    if (seem_resident(probe_count, [&](int64_t number) { return range(number).begin; })) continue;
    std::vector<MemoryRange> ranges;
    for (int64_t i = 0; i < probe_count; ++i) ranges.push_back(range(i));
    read_ahead(machine.pool, std::move(ranges));
  }
}

}  // namespace

RankedDocuments accumulate_postings(const Machine& machine, const StoreView& store, PostingScratchPool& scratch_pool,
                                    const Probes& probes, const int64_t* query_offsets, int64_t query_count,
                                    int64_t limit, const uint8_t* mask) {
  check_probes(store, probes, query_offsets[query_count]);
  read_ahead_postings(machine, store, probes, query_offsets[query_count]);
  const std::vector<Part> parts = parts_of(store, query_count == 1 ? machine.pool.threads() : 1);
  const int64_t part_count = static_cast<int64_t>(parts.size());
  std::vector<std::vector<uint64_t>> found(query_count * part_count);
  machine.pool.for_each(query_count * part_count, [&](int64_t item) {
    const int64_t query = item / part_count;
    std::unique_ptr<PostingScratch> scratch = scratch_pool.take();
    found[item] = accumulate_part(parts[item % part_count], *scratch, probes, query_offsets[query],
                                  query_offsets[query + 1], limit, mask);
    scratch_pool.give_back(std::move(scratch));
  });
  RankedDocuments ranked;
  ranked.list_offsets.push_back(0);
  for (int64_t query = 0; query < query_count; ++query) {
    std::vector<uint64_t> keys;
    for (int64_t p = 0; p < part_count; ++p) {
      const std::vector<uint64_t>& more = found[query * part_count + p];
      keys.insert(keys.end(), more.begin(), more.end());
    }
    keep_best(keys, limit);
    std::sort(keys.begin(), keys.end());
    for (const uint64_t key : keys) {
      ranked.documents.push_back(document_of(key));
      ranked.scores.push_back(score_of(key));
    }
    ranked.list_offsets.push_back(static_cast<int64_t>(ranked.documents.size()));
  }
  return ranked;
}

}  // namespace jcb
