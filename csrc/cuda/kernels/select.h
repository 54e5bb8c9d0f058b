// The k-th largest of many scores, and the documents that reach it: without sorting, and without the host.
//
// Scores become integers of the same order, and three passes count their digits, first the highest. The k-th lies in the
// digit where the counts from above reach k, and so on down: each pass counts only what agrees with the digits found so
// far. -inf is never counted: a document without tokens is no hit.
#pragma once
#include "cuda/kernels/work.h"

namespace jcb::cuda {

constexpr int kSelectThreads = 256;
constexpr int kDigitPasses = 3, kDigitBins = 2048;
constexpr uint32_t kScoresABlock = 4096;  // at least

JCB_ANYWHERE constexpr int digit_bits(int pass) { return pass == 2 ? 10 : 11; }
JCB_ANYWHERE constexpr int digit_shift(int pass) { return pass == 0 ? 21 : pass == 1 ? 10 : 0; }

JCB_DEVICE uint32_t key_of(float score) {
  const uint32_t bits = bits_of_float(score);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}
JCB_DEVICE float score_of(uint32_t key) { return float_of_bits(key >> 31 ? key & 0x7fffffffu : ~key); }

// Scores of some queries, [queries][stride].
struct Ranked {
  const float* scores;
  const uint32_t* counts;  // [queries], of which at most `stride` are there; null: `count` of each
  uint64_t stride;
  uint32_t count;
  const uint8_t* mask;  // bit d & 7 of byte d >> 3 allows score d; null allows all
  uint32_t* digits;     // [queries][kDigitPasses][kDigitBins], zeros before the first pass

  JCB_DEVICE uint32_t length(uint32_t query) const {
    if (counts == nullptr) return count;
    return counts[query] < stride ? counts[query] : static_cast<uint32_t>(stride);
  }
  JCB_DEVICE bool counts_score(uint32_t i, float score) const {
    return score > kMinusInfinity && (mask == nullptr || (mask[i >> 3] >> (i & 7) & 1));
  }
};

struct Digit {
  uint32_t value, above;  // the digit, and how many scores have a higher one; value kDigitBins where there are too few
};

// The digit in which the counts from the highest reach `wanted`. A warp's lanes together: each sums 64 bins, and then two
// of the 64 among which the place was found.
JCB_DEVICE Digit find_digit(const uint32_t* bins, uint32_t wanted) {
  const int lane = threadIdx.x % kWarpLanes;
  uint32_t first = 0, above = 0;
  for (uint32_t width = kDigitBins / kWarpLanes; width > 1; width /= kWarpLanes) {
    // Lanes from the highest bins down, so that a sum over lower lanes is of what is above.
    const uint32_t begin = first + (kWarpLanes - 1 - lane) * width;
    uint32_t own = 0;
#pragma unroll 8
    for (uint32_t i = 0; i < width; ++i) own += bins[begin + i];
    uint32_t until = own;
    for (int step = 1; step < kWarpLanes; step *= 2) {
      const uint32_t other = shuffle(until, lane - step);
      until += lane >= step ? other : 0;
    }
    const uint32_t reaching = ballot(above + until >= wanted);
    if (reaching == 0) return {kDigitBins, above};
    const int place = static_cast<int>(number_of_bits((reaching & (0 - reaching)) - 1));  // the first lane of them
    above += shuffle(until - own, place);
    first += (kWarpLanes - 1 - place) * width;
  }
  const uint32_t upper = bins[first + 1];
  return above + upper >= wanted ? Digit{first + 1, above} : Digit{first, above + upper};
}

// What the first `passes` passes have found of the k-th key: for every lane of a warp.
struct KthKey {
  uint32_t value, wanted;  // digits so far, and which of those that have them
  bool is_there;           // there are k scores
};
JCB_DEVICE KthKey find_key(const uint32_t* digits, uint32_t k, int passes) {
  KthKey key{0, k, true};
#pragma unroll 1
  for (int pass = 0; pass < passes && key.is_there; ++pass) {
    const Digit digit = find_digit(digits + pass * kDigitBins, key.wanted);
    key.is_there = digit.value < kDigitBins;
    key.value = key.value << digit_bits(pass) | digit.value;
    key.wanted -= key.is_there ? digit.above : 0;
  }
  return key;
}

// The block's shared memory holds kDigitBins counts, and what was found so far: a key, and whether there is one.
constexpr size_t kSelectSharedBytes = (kDigitBins + 2) * sizeof(uint32_t);

// k: how many are looked for, on the device.
JCB_KERNEL(kSelectThreads, 2) count_digits(Ranked ranked, const uint32_t* k, int pass, uint32_t blocks_a_query) {
  uint32_t* const bins = reinterpret_cast<uint32_t*>(dynamic_shared());
  uint32_t* const found = bins + kDigitBins;
  const uint32_t query = blockIdx.x / blocks_a_query, stride = blocks_a_query * kSelectThreads;
  uint32_t* const digits = ranked.digits + static_cast<size_t>(query) * kDigitPasses * kDigitBins;
  for (int i = threadIdx.x; i < kDigitBins; i += kSelectThreads) bins[i] = 0;
  if (threadIdx.x < kWarpLanes) {
    const KthKey key = find_key(digits, *k, pass);
    if (threadIdx.x == 0) found[0] = key.value, found[1] = key.is_there;
  }
  block_barrier();
  const float* const scores = ranked.scores + query * ranked.stride;
  const uint32_t length = found[1] ? ranked.length(query) : 0, above = digit_shift(pass) + digit_bits(pass);
  for (uint32_t i = blockIdx.x % blocks_a_query * kSelectThreads + threadIdx.x; i < length; i += stride) {
    const uint32_t key = key_of(scores[i]);
    const bool agrees = pass == 0 || key >> (pass == 0 ? 0 : above) == found[0];
    if (agrees && ranked.counts_score(i, scores[i])) {
      add_atomically(&bins[key >> digit_shift(pass) & ((1u << digit_bits(pass)) - 1)], 1u);
    }
  }
  block_barrier();
  for (int i = threadIdx.x; i < kDigitBins; i += kSelectThreads) {
    if (bins[i] != 0) add_atomically(&digits[pass * kDigitBins + i], bins[i]);
  }
}

// Which documents reach what was found of others: score >= the k-th of `digits`, less the query's margin.
struct Reaching {
  const uint32_t* digits;  // [queries][kDigitPasses][kDigitBins]
  const float* margins;    // [queries]; null: none
  uint32_t* counts;        // [queries], zeros before
  uint32_t* documents;     // [queries][room]
  uint32_t room;
};

// The sum of ranked.counts goes on where there is no room left: it tells. Documents come in no order.
JCB_KERNEL(kSelectThreads, 2) collect_reaching(Ranked ranked, Reaching given, const uint32_t* k, uint32_t blocks_a_query) {
  float* const found = reinterpret_cast<float*>(dynamic_shared());
  const int lane = threadIdx.x % kWarpLanes;
  const uint32_t query = blockIdx.x / blocks_a_query, stride = blocks_a_query * kSelectThreads;
  if (threadIdx.x < kWarpLanes) {
    const KthKey key = find_key(given.digits + static_cast<size_t>(query) * kDigitPasses * kDigitBins, *k, kDigitPasses);
    if (threadIdx.x == 0) {
      const float kth = score_of(key.value);
      // What the subtraction may round is taken off as well.
      const float margin = given.margins == nullptr ? 0.0f : given.margins[query] + fabsf(kth) * 0x1p-22f;
      found[0] = key.is_there ? kth - margin : kMinusInfinity;
    }
  }
  block_barrier();
  const float* const scores = ranked.scores + query * ranked.stride;
  const uint32_t length = ranked.length(query);
  // All lanes of a warp stay in the loop: they count together, and one of them asks for their places.
  for (uint32_t first = blockIdx.x % blocks_a_query * kSelectThreads; first < length; first += stride) {
    const uint32_t i = first + threadIdx.x;
    const float score = i < length ? scores[i] : kMinusInfinity;
    const bool reaches = i < length && score >= found[0] && ranked.counts_score(i, score);
    const uint32_t reaching = ballot(reaches);
    if (reaching == 0) continue;
    uint32_t begin = 0;
    if (lane == 0) begin = add_atomically(&given.counts[query], number_of_bits(reaching));
    begin = shuffle(begin, 0);
    const uint32_t place = begin + number_of_bits(reaching & ((1u << lane) - 1));
    if (reaches && place < given.room) given.documents[static_cast<size_t>(query) * given.room + place] = i;
  }
}

}  // namespace jcb::cuda
