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

// A segment is taken in parts of so many documents at most: their scratch is half a megabyte, which a cache holds.
constexpr int64_t kDocumentsPerPart = 1 << 16;
// Threads that share a query take no less: to find where a share begins in a posting takes as long as some entries.
constexpr int64_t kSmallestShare = 1 << 10;
constexpr size_t kListsAhead = 4;  // whose next entries are asked for while one is read

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

// The `limit` first of the keys given, in no order.
class FirstKeys {
 public:
  explicit FirstKeys(int64_t limit) : limit_(static_cast<size_t>(limit)) {}

  void add(uint64_t key) {
    if (key >= bar_) return;
    keys_.push_back(key);
    if (keys_.size() >= 2 * limit_ + kSlack) cut();
  }

  const std::vector<uint64_t>& cut() {
    if (keys_.size() > limit_) {
      std::nth_element(keys_.begin(), keys_.begin() + limit_, keys_.end());
      bar_ = keys_[limit_];  // that one and all after it come too late
      keys_.resize(limit_);
    }
    return keys_;
  }

 private:
  static constexpr size_t kSlack = 64;
  size_t limit_;
  std::vector<uint64_t> keys_;
  uint64_t bar_ = std::numeric_limits<uint64_t>::max();
};

// Documents first..last of a segment, numbers local to it.
struct Part {
  const SegmentView* segment;
  int64_t segment_start;
  int64_t first, last;
};

// The documents of a store in at most `wanted` equal shares, each cut into parts.
std::vector<std::vector<Part>> shares_of(const StoreView& store, int64_t wanted) {
  const int64_t documents = store.documents();
  const int64_t count = std::clamp<int64_t>(documents / kSmallestShare, 1, wanted);
  std::vector<std::vector<Part>> shares(count);
  for (int64_t share = 0; share < count; ++share) {
    const int64_t begin = share * documents / count, end = (share + 1) * documents / count;
    for (size_t s = 0; s < store.segments.size(); ++s) {
      const int64_t start = store.segment_starts[s];
      const int64_t last = std::min(end - start, store.segments[s].documents);
      for (int64_t first = std::max<int64_t>(0, begin - start); first < last; first += kDocumentsPerPart) {
        shares[share].push_back({&store.segments[s], start, first, std::min(last, first + kDocumentsPerPart)});
      }
    }
  }
  return shares;
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

// The first entry that is not below `document`, looked for from where it lies if documents are spread evenly.
const uint32_t* first_not_below(const Posting& posting, int64_t document, int64_t documents) {
  const int64_t size = posting.end - posting.begin;
  int64_t low = 0, high = size, step = 32;
  const int64_t guess = document * size / documents;
  if (guess < size && posting.begin[guess] < document) {
    for (low = guess + 1; low + step < size && posting.begin[low + step] < document; step *= 2) low += step;
    high = std::min(size, low + step);
  } else {
    for (high = std::min(guess, size); high - step > 0 && posting.begin[high - step] >= document; step *= 2) high -= step;
    low = std::max<int64_t>(0, high - step);
  }
  return std::lower_bound(posting.begin + low, posting.begin + high, document);
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

// What is left to read of a probe's posting.
struct List {
  int64_t centroid;
  float gain;     // over the frontier of its query token
  uint32_t row;   // of the query, from 1
  const uint32_t* next = nullptr;
  const uint32_t* end = nullptr;
};

// The probes of a query, token by token, best first: what holds a document first is then its best.
std::vector<List> lists_of(const Probes& probes, int64_t first_row, int64_t last_row) {
  std::vector<List> lists;
  lists.reserve((last_row - first_row) * probes.probe_count);
  std::vector<int64_t> order(probes.probe_count);
  for (int64_t row = first_row; row < last_row; ++row) {
    const float* scores = probes.scores + row * probes.probe_count;
    std::iota(order.begin(), order.end(), 0);
    if (!std::is_sorted(scores, scores + probes.probe_count, std::greater<>())) {  // a coarse search sorts them
      std::stable_sort(order.begin(), order.end(), [scores](int64_t a, int64_t b) { return scores[a] > scores[b]; });
    }
    for (const int64_t probe : order) {
      const float gain = std::max(0.0f, scores[probe] - probes.frontier[row]);
      const int64_t centroid = probes.centroid_ids[row * probes.probe_count + probe];
      lists.push_back({centroid, gain, static_cast<uint32_t>(row - first_row + 1)});
    }
  }
  return lists;
}

[[noreturn]] void refuse(const Part& part, int64_t document) {
  throw CorruptIndex("a posting names document " + std::to_string(document) + ", out of order or beyond the " +
                     std::to_string(part.segment->documents) +
                     " of its segment: posting_documents are damaged; run `jcb-index verify`");
}

// Puts lists where a part begins: they are there already, unless it is the first of its segment in this share.
void begin_part(const Part& part, const Part* before, std::vector<List>& lists) {
  if (before != nullptr && before->segment == part.segment) return;
  for (List& list : lists) {
    const Posting posting = whole_posting(*part.segment, list.centroid);
    list.next = part.first == 0 ? posting.begin : first_not_below(posting, part.first, part.segment->documents);
    list.end = posting.end;
  }
}

bool allows(const uint8_t* mask, int64_t number) { return (mask[number >> 3] >> (number & 7) & 1) != 0; }

// Whether an earlier probe, or one of the same query token, held a document is a coin toss to the processor: choices are
// made by masks of bits, and not left to the compiler, which makes branches of conditional values (4 ns each, measured).
struct Accumulation {
  PostingScratch::Entry* entries;
  uint32_t* touched;
  int64_t touched_count;
  uint32_t before;         // rows up to here are of another part or call
  uint32_t nothing_found;  // the bits of what a document scores that no probe holds

  void add(uint32_t document, uint32_t row, uint32_t gain_bits) {
    PostingScratch::Entry& entry = entries[document];
    const uint32_t fresh = -static_cast<uint32_t>(entry.row <= before);
    const uint32_t other = -static_cast<uint32_t>(entry.row != row);
    touched[touched_count] = document;
    touched_count += fresh & 1;
    const uint32_t score = (nothing_found & fresh) | (std::bit_cast<uint32_t>(entry.score) & ~fresh);
    entry = {row, std::bit_cast<float>(score) + std::bit_cast<float>(gain_bits & other)};
  }
};

// Adds the documents of a part to `best`.
template <bool kMasked>
void accumulate_part(const Part& part, PostingScratch& scratch, std::vector<List>& lists, int64_t rows,
                     float nothing_found, const uint8_t* mask, FirstKeys& best) {
  Accumulation sums{scratch.entries.data(), scratch.touched.data(), 0, scratch.begin_rows(rows),
                    std::bit_cast<uint32_t>(nothing_found)};
  const auto first = static_cast<uint32_t>(part.first), count = static_cast<uint32_t>(part.last - part.first);
  for (size_t i = 0; i < lists.size(); ++i) {
    if (i + kListsAhead < lists.size()) {
      __builtin_prefetch(lists[i + kListsAhead].next);
      __builtin_prefetch(lists[i + kListsAhead].next + 16);
    }
    List& list = lists[i];
    const uint32_t row = sums.before + list.row, gain = std::bit_cast<uint32_t>(list.gain);
    const uint32_t *p = list.next, *const end = list.end;
    for (; p != end; ++p) {
      const uint32_t document = *p - first;  // below `first` it is a large number
      if (document >= count) break;
      if (kMasked && !allows(mask, part.segment_start + *p)) continue;
      sums.add(document, row, gain);
    }
    list.next = p;
    if (p != end && (*p < first || part.last == part.segment->documents)) refuse(part, *p);
  }
  for (int64_t i = 0; i < sums.touched_count; ++i) {
    const uint32_t document = sums.touched[i];
    best.add(rank_key(sums.entries[document].score, static_cast<uint32_t>(part.segment_start) + first + document));
  }
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
  const auto shares = shares_of(store, query_count == 1 ? machine.pool.threads() : 1);
  const int64_t share_count = static_cast<int64_t>(shares.size());
  std::vector<std::vector<uint64_t>> found(query_count * share_count);
  machine.pool.for_each(query_count * share_count, [&](int64_t item) {
    const int64_t query = item / share_count, first_row = query_offsets[query], last_row = query_offsets[query + 1];
    const float nothing_found = std::accumulate(probes.frontier + first_row, probes.frontier + last_row, 0.0f);
    std::vector<List> lists = lists_of(probes, first_row, last_row);
    FirstKeys best(limit);
    std::unique_ptr<PostingScratch> scratch = scratch_pool.take();
    const Part* before = nullptr;
    for (const Part& part : shares[item % share_count]) {
      begin_part(part, before, lists);
      const auto accumulate = mask == nullptr ? accumulate_part<false> : accumulate_part<true>;
      accumulate(part, *scratch, lists, last_row - first_row, nothing_found, mask, best);
      before = &part;
    }
    scratch_pool.give_back(std::move(scratch));
    found[item] = best.cut();
  });
  RankedDocuments ranked;
  ranked.list_offsets.push_back(0);
  for (int64_t query = 0; query < query_count; ++query) {
    FirstKeys best(limit);
    for (int64_t share = 0; share < share_count; ++share) {
      for (const uint64_t key : found[query * share_count + share]) best.add(key);
    }
    std::vector<uint64_t> keys = best.cut();
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
