#include "jcb/read_ahead.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "cpu/candidates.h"

namespace jcb {
namespace {

// A look costs a system call, about a microsecond. Of pages that are absent to a third, eight looks miss all in 4 % of
// the calls, which then go on as without reading ahead.
constexpr int64_t kLooks = 8;
constexpr int64_t kRangesPerItem = 32;

uintptr_t page_bytes() {
  static const uintptr_t size = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  return size;
}

bool is_resident(uintptr_t place) {
  unsigned char resident = 1;
  const uintptr_t page = place & ~(page_bytes() - 1);
  if (mincore(reinterpret_cast<void*>(page), 1, &resident) != 0) return true;  // not to be known: then nothing is asked
  return (resident & 1) != 0;
}

template <class Item>
MemoryRange range_of(const Item* array, int64_t first, int64_t last) {
  return {reinterpret_cast<uintptr_t>(array + first), reinterpret_cast<uintptr_t>(array + last)};
}

MemoryRange centroid_ids_of(const SegmentView& segment, TokenRange tokens) {
  if (segment.centroid_ids_16 != nullptr) return range_of(segment.centroid_ids_16, tokens.first, tokens.last);
  return range_of(segment.centroid_ids_32, tokens.first, tokens.last);
}

MemoryRange codes_of(const SegmentView& segment, TokenRange tokens, int64_t code_bytes) {
  return range_of(segment.codes, tokens.first * code_bytes, tokens.last * code_bytes);
}

// A document by its number through the store.
struct Place {
  const SegmentView& segment;
  uint32_t document;
};

Place place_of(const StoreView& store, int64_t document) {
  const int64_t segment = segment_of(store, document);
  return {store.segments[segment], static_cast<uint32_t>(document - store.segment_starts[segment])};
}

// Calls add(segment, tokens) for every candidate, after the pages with their offsets were asked for.
template <class Add>
void for_tokens(const Machine& machine, const StoreView& store, const uint32_t* documents, int64_t count,
                const Add& add) {
  std::vector<uint32_t> ascending(documents, documents + count);
  std::sort(ascending.begin(), ascending.end());
  std::vector<MemoryRange> offsets;
  for (const uint32_t document : ascending) {
    const Place place = place_of(store, document);
    offsets.push_back(range_of(place.segment.doc_offsets, place.document, place.document + int64_t{2}));
  }
  read_ahead(machine.pool, std::move(offsets));
  for (const uint32_t document : ascending) {
    const Place place = place_of(store, document);
    add(place.segment, tokens_of(place.segment, place.document));
  }
}

}  // namespace

std::vector<MemoryRange> whole_pages(std::vector<MemoryRange> ranges, uintptr_t page_bytes) {
  std::erase_if(ranges, [](const MemoryRange& range) { return range.begin >= range.end; });
  for (MemoryRange& range : ranges) {
    range = {range.begin & ~(page_bytes - 1), (range.end + page_bytes - 1) & ~(page_bytes - 1)};
  }
  std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
  std::vector<MemoryRange> joined;
  for (const MemoryRange& range : ranges) {
    if (!joined.empty() && range.begin <= joined.back().end) {
      joined.back().end = std::max(joined.back().end, range.end);
    } else {
      joined.push_back(range);
    }
  }
  return joined;
}

bool seem_resident(int64_t count, const std::function<uintptr_t(int64_t)>& place) {
  const int64_t looks = std::min(count, kLooks);
  for (int64_t i = 0; i < looks; ++i) {
    if (!is_resident(place(i * count / looks))) return false;
  }
  return true;
}

void read_ahead(const ThreadPool& pool, std::vector<MemoryRange> ranges) {
  const std::vector<MemoryRange> pages = whole_pages(std::move(ranges), page_bytes());
  const int64_t count = static_cast<int64_t>(pages.size());
  pool.for_each((count + kRangesPerItem - 1) / kRangesPerItem, [&](int64_t item) {
    const int64_t last = std::min(count, (item + 1) * kRangesPerItem);
    for (int64_t i = item * kRangesPerItem; i < last; ++i) {
      // Of no consequence when it fails: then the page is read when it is touched.
      (void)madvise(reinterpret_cast<void*>(pages[i].begin), pages[i].end - pages[i].begin, MADV_WILLNEED);
    }
  });
}

void read_ahead_centroid_ids(const Machine& machine, const StoreView& store, int64_t query_count,
                             const Candidates& candidates) {
  if (!machine.reads_ahead || !candidates.are_lists()) return;
  const int64_t count = candidates.list_offsets[query_count];
  const auto first_id = [&](int64_t number) {
    const Place place = place_of(store, candidates.documents[number]);
    return centroid_ids_of(place.segment, tokens_of(place.segment, place.document)).begin;
  };
  if (seem_resident(count, first_id)) return;
  std::vector<MemoryRange> ranges;
  for_tokens(machine, store, candidates.documents, count, [&](const SegmentView& segment, TokenRange tokens) {
    ranges.push_back(centroid_ids_of(segment, tokens));
  });
  read_ahead(machine.pool, std::move(ranges));
}

void read_ahead_codes(const Machine& machine, const StoreView& store, int64_t query_count,
                      const Candidates& candidates) {
  if (!machine.reads_ahead || !candidates.are_lists()) return;
  const int64_t count = candidates.list_offsets[query_count], code_bytes = store.codec.code_bytes();
  // Codes stand for the other arrays, which are smaller by an order of magnitude.
  const auto first_code = [&](int64_t number) {
    const Place place = place_of(store, candidates.documents[number]);
    return codes_of(place.segment, tokens_of(place.segment, place.document), code_bytes).begin;
  };
  if (seem_resident(count, first_code)) return;
  std::vector<MemoryRange> ranges;
  for_tokens(machine, store, candidates.documents, count, [&](const SegmentView& segment, TokenRange tokens) {
    ranges.push_back(codes_of(segment, tokens, code_bytes));
    if (store.codec.nbits == 16) return;
    ranges.push_back(centroid_ids_of(segment, tokens));
    ranges.push_back(range_of(segment.sigmas, tokens.first, tokens.last));
    ranges.push_back(range_of(segment.norms, tokens.first, tokens.last));
  });
  read_ahead(machine.pool, std::move(ranges));
}

}  // namespace jcb
