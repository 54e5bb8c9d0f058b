// Reading parts of mapped files ahead of their use. Left alone, a search whose pages are not in memory waits for the disk
// at every page it touches, one after the other; asked for at once, the reads overlap. All of this is advice: memory that
// is no mapped file, and a system that does not listen, change nothing but the time.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "jcb/candidates.h"
#include "jcb/machine.h"
#include "jcb/store.h"

namespace jcb {

// Bytes that will be read, by their addresses; the end is exclusive.
struct MemoryRange {
  uintptr_t begin, end;
};

// The whole pages that hold these ranges, ascending and each once: ranges that share a page, or whose pages touch, are
// joined, empty ones are left out. page_bytes: a power of two.
std::vector<MemoryRange> whole_pages(std::vector<MemoryRange> ranges, uintptr_t page_bytes);

// False when one of a few of the `count` places, evenly spread, lies in a page that is not in memory. True is not proven,
// and where the system hides what is in memory (files that this user may not write) it is always the answer.
bool seem_resident(int64_t count, const std::function<uintptr_t(int64_t number)>& place);

// Asks for the pages of these ranges, all at once.
void read_ahead(const ThreadPool& pool, std::vector<MemoryRange> ranges);

// Ask for what maxsim_centroids, and what maxsim_quantized or maxsim_raw, will read of lists of candidates. Nothing is asked
// where it seems to be in memory, and nothing for ranges: those are read in order, which the system foresees by itself.
// Throw CorruptIndex as scoring does.
void read_ahead_centroid_ids(const Machine& machine, const StoreView& store, int64_t query_count,
                             const Candidates& candidates);
void read_ahead_codes(const Machine& machine, const StoreView& store, int64_t query_count,
                      const Candidates& candidates);

}  // namespace jcb
