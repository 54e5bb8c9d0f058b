// Counts of digits in shared memory, and the digit in which these reach a number: steps of finding the k-th largest of
// many keys without sorting. Threads of a block work together.
#pragma once
#include "cuda/kernels/ranked.h"

namespace jcb::cuda {

JCB_ANYWHERE constexpr int digit_bits(int pass) { return pass == 2 ? 10 : 11; }
JCB_ANYWHERE constexpr int digit_shift(int pass) { return pass == 0 ? 21 : pass == 1 ? 10 : 0; }

// Whether a key has the digits that were found in the passes before.
JCB_DEVICE bool agrees_so_far(uint32_t key, uint32_t found, int pass) {
  return pass == 0 || key >> (digit_shift(pass) + digit_bits(pass)) == found;
}

// In shared memory.
struct DigitCounts {
  uint32_t bins[kDigitBins];
  uint32_t of_warps[kWarpLanes];
  uint32_t value, above, count;
};

// One more of a key's digit. Lanes that have the same, as nearly all scores have the same highest digit, are one addition:
// ATOMS.POPC.INC.
JCB_DEVICE void count_digit(DigitCounts& counts, uint32_t key, int pass) {
  add_atomically(&counts.bins[key >> digit_shift(pass) & ((1u << digit_bits(pass)) - 1)], 1u);
}

template <int kThreads>
JCB_DEVICE void clear(DigitCounts& counts) {
  for (int i = threadIdx.x; i < kDigitBins; i += kThreads) counts.bins[i] = 0;
  block_barrier();
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
