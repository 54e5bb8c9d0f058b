#include "cuda/plan.h"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

#include "jcb/store.h"

namespace jcb::cuda {
namespace {

struct ItemRange {
  uint32_t first, count;
};

class Items {
 public:
  Items(const std::vector<uint64_t>& document_sums, Plan& plan) : document_sums_(document_sums), plan_(plan) {}

  void add(int64_t document) {
    const int64_t documents = static_cast<int64_t>(document_sums_.size()) - 1;
    if (document < 0 || document >= documents) {
      throw CorruptIndex("document " + std::to_string(document) + " is not in the store, which has " +
                         std::to_string(documents));
    }
    if (plan_.first_tiles.size() == std::numeric_limits<uint32_t>::max()) {
      throw std::invalid_argument("more than 4 billion candidates in one call; ask in parts");
    }
    if (plan_.tile_sums.empty()) plan_.tile_sums.push_back(0);
    plan_.first_tiles.push_back(document_sums_[document]);
    plan_.tile_sums.push_back(plan_.tile_sums.back() + document_sums_[document + 1] - document_sums_[document]);
  }
  uint32_t count() const { return static_cast<uint32_t>(plan_.first_tiles.size()); }

 private:
  const std::vector<uint64_t>& document_sums_;
  Plan& plan_;
};

std::vector<ItemRange> items_of_lists(Items items, int64_t query_count, const Candidates& candidates) {
  std::vector<ItemRange> ranges;
  for (int64_t query = 0; query < query_count; ++query) {
    const uint32_t first = items.count();
    for (int64_t i = candidates.list_offsets[query]; i < candidates.list_offsets[query + 1]; ++i) {
      items.add(candidates.documents[i]);
    }
    ranges.push_back({first, items.count() - first});
  }
  return ranges;
}

// One range needs no items of its own: documents lie as they are scored.
std::vector<ItemRange> items_of_ranges(const std::vector<uint64_t>& document_sums, Items items, int64_t query_count,
                                       const Candidates& candidates) {
  const int64_t documents = static_cast<int64_t>(document_sums.size()) - 1;
  ItemRange all{0, 0};
  if (candidates.range_count == 1 && candidates.starts[0] >= 0 && candidates.ends[0] <= documents &&
      documents <= std::numeric_limits<uint32_t>::max()) {
    all = {static_cast<uint32_t>(candidates.starts[0]), static_cast<uint32_t>(candidates.ends[0] - candidates.starts[0])};
  } else {
    for (int64_t range = 0; range < candidates.range_count; ++range) {
      for (int64_t document = candidates.starts[range]; document < candidates.ends[range]; ++document) {
        items.add(document);
      }
    }
    all.count = items.count();
  }
  return std::vector<ItemRange>(query_count, all);
}

}  // namespace

Plan::Plan(const std::vector<uint64_t>& document_sums, const int64_t* query_offsets, int64_t query_count,
           const Candidates& candidates) {
  Items items(document_sums, *this);
  const std::vector<ItemRange> ranges = candidates.are_lists()
                                            ? items_of_lists(items, query_count, candidates)
                                            : items_of_ranges(document_sums, items, query_count, candidates);
  const std::vector<uint64_t>& item_sums = tile_sums.empty() ? document_sums : tile_sums;
  for (int64_t query = 0; query < query_count; ++query) {
    const auto [first_item, count] = ranges[query];
    const int64_t begin = query_offsets[query], tokens = query_offsets[query + 1] - begin;
    const uint32_t own = static_cast<uint32_t>(std::max<int64_t>(1, (tokens + kColumns - 1) / kColumns));
    sums.push_back({partial_count, score_count, own, count});
    needs_sums = needs_sums || own > 1;
    for (uint32_t piece = 0; piece < own; ++piece) {
      const int64_t from = static_cast<int64_t>(piece) * kColumns;
      pieces.push_back({static_cast<uint32_t>(begin + from),
                        static_cast<uint32_t>(std::min<int64_t>(kColumns, tokens - from)), first_item, count, partial_count});
      partial_count += count;
    }
    score_count += count;
    is_one_range = tile_sums.empty() && !candidates.are_lists();
    most_tiles = std::max(most_tiles, item_sums[first_item + count] - item_sums[first_item]);
  }
}

}  // namespace jcb::cuda
