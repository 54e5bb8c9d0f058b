// Counts of digits in shared memory, and the digit in which these reach a number: steps of finding the k-th largest of
// many keys without sorting. Threads of a block work together.
#pragma once
#include "cuda/kernels/ranked.h"

namespace jcb::cuda {

JCB_ANYWHERE constexpr int digit_bits(int pass) { return pass == 2 ? 10 : 11; }
JCB_ANYWHERE constexpr int digit_shift(int pass) { return pass == 0 ? 21 : pass == 1 ? 10 : 0; }

// Whether a key has the digits that were found in the passes before, and its digit of this one.
JCB_DEVICE bool agrees_so_far(uint32_t key, uint32_t found, int pass) {
  return pass == 0 || key >> (digit_shift(pass) + digit_bits(pass)) == found;
}
JCB_DEVICE uint32_t digit_of(uint32_t key, int pass) { return key >> digit_shift(pass) & ((1u << digit_bits(pass)) - 1); }

// In shared memory.
struct DigitCounts {
  uint32_t bins[kDigitBins];
  uint32_t of_warps[kWarpLanes];
  uint32_t value, above, count;
};

template <int kThreads>
JCB_DEVICE void clear(DigitCounts& counts) {
  for (int i = threadIdx.x; i < kDigitBins; i += kThreads) counts.bins[i] = 0;
  block_barrier();
}

// One more of a digit, for each lane that has one. Lanes with the digit of the first of them are added at once: of scores
// nearly all have the same highest digit.
JCB_DEVICE void count_digit(DigitCounts& counts, uint32_t digit, bool is_counted) {
  const uint32_t counted = ballot(is_counted);
  if (counted == 0) return;
  const int first = static_cast<int>(number_of_bits((counted & (0 - counted)) - 1));
  const uint32_t common = shuffle(digit, first);
  const uint32_t alike = ballot(is_counted && digit == common);
  if (static_cast<int>(threadIdx.x % kWarpLanes) == first) {
    add_atomically(&counts.bins[digit], number_of_bits(alike));
  } else if (is_counted && digit != common) {
    add_atomically(&counts.bins[digit], 1u);
  }
}

// The digit, how many keys have a higher one and how many have it; value kDigitBins where there are too few.
struct Digit {
  uint32_t value, above, count;
};

// The digit in which the counts from the highest one on reach `wanted`, 1 or more. bins: at a multiple of 16 bytes, in
// whatever memory. A barrier must lie between two calls.
template <int kThreads>
JCB_DEVICE Digit find_digit(const uint32_t* bins, uint32_t wanted, DigitCounts& shared) {
  constexpr int kOwn = kDigitBins / kThreads;  // bins of a thread: threads from the highest bins down
  const int lane = threadIdx.x % kWarpLanes, warp = threadIdx.x / kWarpLanes;
  const uint32_t begin = kDigitBins - (threadIdx.x + 1) * kOwn;
  uint32_t counts[kOwn], own = 0;
#pragma unroll
  for (int four = 0; four < kOwn / 4; ++four) {
    const uint4 some = reinterpret_cast<const uint4*>(bins + begin)[four];
    counts[4 * four] = some.x, counts[4 * four + 1] = some.y, counts[4 * four + 2] = some.z, counts[4 * four + 3] = some.w;
    own += some.x + some.y + some.z + some.w;
  }
  uint32_t until = own;
#pragma unroll
  for (int step = 1; step < kWarpLanes; step *= 2) {
    const uint32_t other = shuffle(until, lane - step);
    until += lane >= step ? other : 0;
  }
  if (lane == kWarpLanes - 1) shared.of_warps[warp] = until;
  if (threadIdx.x == 0) shared.value = kDigitBins;
  block_barrier();
  uint32_t above = until - own;
  for (int w = 0; w < warp; ++w) above += shared.of_warps[w];
#pragma unroll
  for (int i = kOwn - 1; i >= 0; --i) {
    if (above < wanted && above + counts[i] >= wanted) {
      shared.value = begin + i;
      shared.above = above;
      shared.count = counts[i];
    }
    above += counts[i];
  }
  block_barrier();
  return {shared.value, shared.above, shared.count};
}

}  // namespace jcb::cuda
