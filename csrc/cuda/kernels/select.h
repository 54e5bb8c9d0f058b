// The k-th largest of many scores, and the documents that reach it: without sorting, and without the host.
//
// Scores become integers of the same order, and three passes count their digits, first the highest. The k-th lies in the
// digit where the counts from above reach k, and so on down: each pass counts only what agrees with the digits found so
// far. -inf is never counted: a document without tokens is no hit.
#pragma once
#include "cuda/kernels/ranked.h"

namespace jcb::cuda {

constexpr int kSelectThreads = 256;
constexpr uint32_t kScoresABlock = 4096;  // at least

JCB_ANYWHERE constexpr int digit_bits(int pass) { return pass == 2 ? 10 : 11; }
JCB_ANYWHERE constexpr int digit_shift(int pass) { return pass == 0 ? 21 : pass == 1 ? 10 : 0; }

JCB_DEVICE uint32_t key_of(float score) {
  const uint32_t bits = bits_of_float(score + 0.0f);  // + 0 makes one zero of two
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}
JCB_DEVICE float score_of(uint32_t key) { return float_of_bits(key >> 31 ? key & 0x7fffffffu : ~key); }

// A score and a document as one integer: higher scores, then lower numbers, are higher.
JCB_DEVICE uint64_t place_key(float score, uint32_t number) { return static_cast<uint64_t>(key_of(score)) << 32 | ~number; }

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

// Those among a part of the scores whose keys reach `floor`: the place `first` of each step is the same for the block.
// The sum of given.counts goes on where there is no room left: it tells. Documents come in no order.
JCB_DEVICE void collect(const Ranked& ranked, const Reaching& given, uint32_t query, uint64_t floor, uint32_t first,
                        uint32_t stride) {
  const int lane = threadIdx.x % kWarpLanes;
  const float* const scores = ranked.scores + query * ranked.stride;
  const uint32_t length = ranked.length(query);
  // All lanes of a warp stay in the loop: they count together, and one of them asks for their places.
  for (; first < length; first += stride) {
    const uint32_t i = first + threadIdx.x;
    const float score = i < length ? scores[i] : kMinusInfinity;
    const uint32_t number = i < length ? ranked.number(query, i) : 0;
    const bool reaches = i < length && place_key(score, number) >= floor && ranked.counts_score(i, score);
    const uint32_t reaching = ballot(reaches);
    if (reaching == 0) continue;
    uint32_t begin = 0;
    if (lane == 0) begin = add_atomically(&given.counts[query], number_of_bits(reaching));
    begin = shuffle(begin, 0);
    const uint32_t place = begin + number_of_bits(reaching & ((1u << lane) - 1));
    if (!reaches || place >= given.room) continue;
    given.documents[static_cast<size_t>(query) * given.room + place] = number;
    if (given.scores != nullptr) given.scores[static_cast<size_t>(query) * given.room + place] = score;
  }
}

// What a key must reach, of the k-th score. What subtracting the margin may round is taken off as well.
JCB_DEVICE uint64_t floor_of(const Reaching& given, float kth, float margin) {
  const uint64_t floor = static_cast<uint64_t>(key_of(margin > 0.0f ? kth - (margin + fabsf(kth) * 0x1p-22f) : kth)) << 32;
  return floor + (given.beyond ? uint64_t{1} << 32 : 0);
}

JCB_KERNEL(kSelectThreads, 2) collect_reaching(Ranked ranked, Reaching given, const uint32_t* k, uint32_t blocks_a_query) {
  uint64_t* const floor = reinterpret_cast<uint64_t*>(dynamic_shared());
  const uint32_t query = blockIdx.x / blocks_a_query, block = blockIdx.x % blocks_a_query;
  if (threadIdx.x < kWarpLanes) {
    const KthKey key = find_key(given.digits + static_cast<size_t>(query) * kDigitPasses * kDigitBins, *k, kDigitPasses);
    if (threadIdx.x == 0) {
      const float kth = key.is_there ? score_of(static_cast<uint32_t>(key.value)) : kMinusInfinity;
      const float margin = given.margins == nullptr ? 0.0f : given.margins[query];
      *floor = key.is_there ? floor_of(given, kth, margin) : 0;
      if (given.kths != nullptr && block == 0) given.kths[query] = kth;
    }
  }
  block_barrier();
  collect(ranked, given, query, *floor, block * kSelectThreads, blocks_a_query * kSelectThreads);
}

// The same of some thousand scores, for which a block a query is enough: in one kernel.
constexpr int kFewThreads = 512;
constexpr size_t kFewSharedBytes = (kDigitBins + 4) * sizeof(uint32_t);

// Of the scores of `found_in`, the k-th is the floor for `ranked`: which may be the same, or other scores of these and
// other documents. kExactly: k of them reach it, the lower numbers where scores tie.
// judged: null, or the scores [queries][stride] that `ranked` has for the documents of found_in: the floor is lower by
// `errors` times the largest difference.
template <bool kExactly>
JCB_KERNEL(kFewThreads, 2) reach_few(Ranked found_in, Ranked ranked, const float* judged, float errors, Reaching given,
                                     const uint32_t* k) {
  uint32_t* const bins = reinterpret_cast<uint32_t*>(dynamic_shared());
  uint32_t* const found = bins + kDigitBins;  // a digit, what is above it, and the bits of the largest difference
  const uint32_t query = blockIdx.x, length = found_in.length(query);
  const float* const scores = found_in.scores + query * found_in.stride;
  uint64_t key = 0;
  uint32_t wanted = *k;
  bool is_there = true;
  if (threadIdx.x == 0) found[2] = 0;
  for (int pass = 0; pass < (kExactly ? 2 : 1) * kDigitPasses && is_there; ++pass) {
    const int bits = digit_bits(pass % kDigitPasses), shift = digit_shift(pass % kDigitPasses) + (pass < kDigitPasses ? 32 : 0);
    for (int i = threadIdx.x; i < kDigitBins; i += kFewThreads) bins[i] = 0;
    block_barrier();
    for (uint32_t i = threadIdx.x; i < length; i += kFewThreads) {
      const uint64_t own = place_key(scores[i], found_in.number(query, i));
      const bool agrees = pass == 0 || own >> (pass == 0 ? 0 : shift + bits) == key;
      if (agrees && found_in.counts_score(i, scores[i])) {
        add_atomically(&bins[own >> shift & ((uint64_t{1} << bits) - 1)], 1u);
      }
    }
    block_barrier();
    if (threadIdx.x < kWarpLanes) {
      const Digit digit = find_digit(bins, wanted);
      if (threadIdx.x == 0) found[0] = digit.value, found[1] = digit.above;
    }
    block_barrier();
    is_there = found[0] < kDigitBins;
    key = key << bits | found[0];
    wanted -= is_there ? found[1] : 0;
  }
  if (judged != nullptr) {
    float worst = 0.0f;
    for (uint32_t i = threadIdx.x; i < length; i += kFewThreads) {
      worst = fmaxf(worst, fabsf(scores[i] - judged[query * found_in.stride + i]));
    }
    maximum_atomically(&found[2], bits_of_float(worst));
  }
  block_barrier();
  const float kth = is_there ? score_of(static_cast<uint32_t>(kExactly ? key >> 32 : key)) : kMinusInfinity;
  const uint64_t floor = kExactly ? key : floor_of(given, kth, errors * float_of_bits(found[2]));
  if (given.kths != nullptr && threadIdx.x == 0) given.kths[query] = kth;
  collect(ranked, given, query, is_there ? floor : 0, 0, kFewThreads);
}

}  // namespace jcb::cuda
