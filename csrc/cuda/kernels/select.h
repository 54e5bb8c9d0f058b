// The k-th largest of many scores, and the documents that reach it: without sorting, and without the host.
//
// Scores become integers of the same order, and three passes count their digits, first the highest. The k-th lies in the
// digit where the counts from above reach k, and so on down: each pass counts only what agrees with the digits found so
// far. -inf is never counted: a document without tokens is no hit.
//
// What takes time here is waiting: a thread asks for several scores at once, and for places of several hits.
#pragma once
#include "cuda/kernels/find_digit.h"
#include "cuda/kernels/keys.h"
#include "cuda/kernels/lay_out.h"

namespace jcb::cuda {

constexpr int kSelectThreads = 256;
constexpr int kScoresAtOnce = 4;                                    // of a thread
constexpr uint32_t kScoresABlock = kSelectThreads * kScoresAtOnce;  // at least

// Scores of a query that a thread looks at together, those of the block from `first` on: its own, and each a stride
// further. -inf, which never counts, beyond the last.
struct SomeScores {
  float values[kScoresAtOnce];

  JCB_DEVICE SomeScores(const float* scores, uint32_t length, uint32_t first, uint32_t stride) {
    const float* const own = scores + first + threadIdx.x;
    if (first + kScoresAtOnce * stride <= length) {
#pragma unroll
      for (int j = 0; j < kScoresAtOnce; ++j) values[j] = own[j * stride];
    } else {
#pragma unroll
      for (int j = 0; j < kScoresAtOnce; ++j) {
        values[j] = first + threadIdx.x + j * stride < length ? own[j * stride] : kMinusInfinity;
      }
    }
  }
};

// What the passes so far have found of the k-th key: the digits, which of those that have them it is, and how many there
// are that have them.
struct KthKey {
  uint32_t value, wanted, count;
  bool is_there;  // there are k scores

  JCB_DEVICE void add(const Digit& digit, int pass) {
    is_there = is_there && digit.value < kDigitBins;
    value = value << digit_bits(pass) | digit.value;
    wanted -= is_there ? digit.above : 0;
    count = digit.count;
  }
};

// What passes before `pass` have found in a query's digits. Each leaves it for the next but one.
JCB_DEVICE KthKey key_before(const uint32_t* digits, uint32_t k, int pass, DigitCounts& shared) {
  KthKey key{0, k, 0, true};
  if (pass == 0) return key;
  if (pass > 1) {
    const uint32_t* const found = digits + kDigitPasses * kDigitBins + 4 * (pass - 2);
    key = {found[0], found[1], 0, found[2] != 0};
  }
  key.add(find_digit<kSelectThreads>(digits + (pass - 1) * kDigitBins, key.wanted, shared), pass - 1);
  return key;
}

// k: how many are looked for, on the device.
JCB_KERNEL(kSelectThreads, 2) count_digits(Ranked ranked, const uint32_t* k, int pass, uint32_t blocks_a_query) {
  DigitCounts& shared = *reinterpret_cast<DigitCounts*>(dynamic_shared());
  const uint32_t query = blockIdx.x / blocks_a_query, block = blockIdx.x % blocks_a_query;
  const uint32_t stride = blocks_a_query * kSelectThreads;
  uint32_t* const digits = ranked.digits + static_cast<size_t>(query) * kDigitWords;
  clear<kSelectThreads>(shared);
  const KthKey key = key_before(digits, *k, pass, shared);
  if (pass != 0 && block == 0 && threadIdx.x == 0) {
    uint32_t* const found = digits + kDigitPasses * kDigitBins + 4 * (pass - 1);
    found[0] = key.value, found[1] = key.wanted, found[2] = key.is_there;
  }
  const float* const scores = ranked.scores + query * ranked.stride;
  const uint32_t length = key.is_there ? ranked.length(query) : 0;
  for (uint32_t first = block * kSelectThreads; first < length; first += kScoresAtOnce * stride) {
    const SomeScores some(scores, length, first, stride);
#pragma unroll
    for (int j = 0; j < kScoresAtOnce; ++j) {
      const uint32_t own = key_of(some.values[j]);
      const bool agrees = agrees_so_far(own, key.value, pass);
      if (agrees && ranked.counts_score(first + threadIdx.x + j * stride, some.values[j])) count_digit(shared, own, pass);
    }
  }
  block_barrier();
  for (int i = threadIdx.x; i < kDigitBins; i += kSelectThreads) {
    if (shared.bins[i] != 0) add_atomically(&digits[pass * kDigitBins + i], shared.bins[i]);
  }
}

// Those among a part of the scores whose keys reach `floor`: the place `first` of each step is the same for the block.
// counter: how many were found, also beyond given.room, for all threads that look. Documents come in no order.
JCB_DEVICE void collect(const Ranked& ranked, const Reaching& given, uint32_t query, uint64_t floor, uint32_t first,
                        uint32_t stride, uint32_t* counter) {
  const int lane = threadIdx.x % kWarpLanes;
  const float* const scores = ranked.scores + query * ranked.stride;
  const uint32_t length = ranked.length(query);
  const size_t own_place = static_cast<size_t>(query) * given.room;
  // All lanes of a warp stay in the loop: they count together, and one of them asks for their places.
  for (; first < length; first += kScoresAtOnce * stride) {
    const SomeScores some(scores, length, first, stride);
    uint32_t numbers[kScoresAtOnce], reaching[kScoresAtOnce], count = 0;
#pragma unroll
    for (int j = 0; j < kScoresAtOnce; ++j) {
      const uint32_t i = first + threadIdx.x + j * stride;
      numbers[j] = i < length ? ranked.number(query, i) : 0;
    }
#pragma unroll
    for (int j = 0; j < kScoresAtOnce; ++j) {
      const uint32_t i = first + threadIdx.x + j * stride;
      reaching[j] = ballot(place_key(some.values[j], numbers[j]) >= floor && ranked.counts_score(i, some.values[j]));
      count += number_of_bits(reaching[j]);
    }
    if (count == 0) continue;
    uint32_t place = 0;
    if (lane == 0) place = add_atomically(counter, count);
    place = shuffle(place, 0);
#pragma unroll
    for (int j = 0; j < kScoresAtOnce; ++j) {
      const uint32_t own = place + number_of_bits(reaching[j] & ((1u << lane) - 1));
      if ((reaching[j] >> lane & 1) && own < given.room) {
        given.documents[own_place + own] = numbers[j];
        if (given.scores != nullptr) given.scores[own_place + own] = some.values[j];
      }
      place += number_of_bits(reaching[j]);
    }
  }
}

// What a key must reach, of the k-th score. What subtracting the margin may round is taken off as well.
JCB_DEVICE uint64_t floor_of(const Reaching& given, float kth, float margin) {
  const uint64_t floor = static_cast<uint64_t>(key_of(margin > 0.0f ? kth - (margin + fabsf(kth) * 0x1p-22f) : kth)) << 32;
  return floor + (given.beyond ? uint64_t{1} << 32 : 0);
}

JCB_KERNEL(kSelectThreads, 2) collect_reaching(Ranked ranked, Reaching given, const uint32_t* k, uint32_t blocks_a_query) {
  DigitCounts& shared = *reinterpret_cast<DigitCounts*>(dynamic_shared());
  const uint32_t query = blockIdx.x / blocks_a_query, block = blockIdx.x % blocks_a_query;
  const KthKey key = key_before(given.digits + static_cast<size_t>(query) * kDigitWords, *k, ranked.passes, shared);
  const uint32_t whole = key.value << (ranked.passes == kDigitPasses ? 0 : digit_bits(kDigitPasses - 1));
  const float kth = key.is_there ? score_of(whole) : kMinusInfinity;
  if (given.kths != nullptr && block == 0 && threadIdx.x == 0) given.kths[query] = kth;
  const uint64_t floor = key.is_there ? floor_of(given, kth, given.margins == nullptr ? 0.0f : given.margins[query]) : 0;
  collect(ranked, given, query, floor, block * kSelectThreads, blocks_a_query * kSelectThreads, &given.counts[query]);
}

// The same of some thousand scores, for which a block a query is enough: in one kernel.
constexpr int kFewThreads = 512;

// In shared memory.
struct FewShared {
  DigitCounts digits;
  uint32_t found;  // documents
  uint32_t worst;  // bits of the largest difference
};

// The k-th largest key of a list. key(i, score): of score i, and whether it counts.
template <class Key>
JCB_DEVICE KthKey kth_of_few(const float* scores, uint32_t length, uint32_t k, DigitCounts& shared, const Key& key) {
  KthKey kth{0, k, 0, true};
#pragma unroll 1
  for (int pass = 0; pass < kDigitPasses && kth.is_there; ++pass) {
    clear<kFewThreads>(shared);
    for (uint32_t first = 0; first < length; first += kScoresAtOnce * kFewThreads) {
      const SomeScores some(scores, length, first, kFewThreads);
#pragma unroll
      for (int j = 0; j < kScoresAtOnce; ++j) {
        bool counts = false;
        const uint32_t own = key(first + threadIdx.x + j * kFewThreads, some.values[j], counts);
        if (counts && agrees_so_far(own, kth.value, pass)) count_digit(shared, own, pass);
      }
    }
    block_barrier();
    kth.add(find_digit<kFewThreads>(shared.bins, kth.wanted, shared), pass);
  }
  return kth;
}

JCB_DEVICE KthKey kth_score_of_few(const Ranked& ranked, uint32_t query, uint32_t k, DigitCounts& shared) {
  const float* const scores = ranked.scores + query * ranked.stride;
  return kth_of_few(scores, ranked.length(query), k, shared, [&](uint32_t i, float score, bool& counts) {
    counts = ranked.counts_score(i, score);
    return key_of(score);
  });
}

// Of the scores of `found_in`, the k-th is the floor for `ranked`: which may be the same, or other scores of these and
// other documents. Those may be many, for several blocks, each of which finds the k-th for itself.
// judged: null, or the scores [queries][stride] that `ranked` has for the documents of found_in: the floor is lower by
// `errors` times the largest difference.
JCB_KERNEL(kFewThreads, 2) reach_few(Ranked found_in, Ranked ranked, const float* judged, float errors, Reaching given,
                                     const uint32_t* k, uint32_t blocks_a_query) {
  FewShared& shared = *reinterpret_cast<FewShared*>(dynamic_shared());
  const uint32_t query = blockIdx.x / blocks_a_query, block = blockIdx.x % blocks_a_query;
  const uint32_t length = found_in.length(query);
  if (threadIdx.x == 0) shared.found = shared.worst = 0;
  const KthKey key = kth_score_of_few(found_in, query, *k, shared.digits);
  if (judged != nullptr) {
    float worst = 0.0f;
    for (uint32_t i = threadIdx.x; i < length; i += kFewThreads) {
      const size_t place = query * found_in.stride + i;
      worst = fmaxf(worst, fabsf(found_in.scores[place] - judged[place]));
    }
    if (worst > 0.0f) maximum_atomically(&shared.worst, bits_of_float(worst));
  }
  block_barrier();
  const float kth = key.is_there ? score_of(key.value) : kMinusInfinity;
  const float margin = errors * float_of_bits(shared.worst) + (given.margins == nullptr ? 0.0f : given.margins[query]);
  const uint64_t floor = key.is_there ? floor_of(given, kth, margin) : 0;
  uint32_t* const counter = blocks_a_query == 1 ? &shared.found : &given.counts[query];
  collect(ranked, given, query, floor, block * kFewThreads, blocks_a_query * kFewThreads, counter);
  block_barrier();
  if (threadIdx.x != 0 || block != 0) return;
  if (blocks_a_query == 1) given.counts[query] = shared.found;
  if (given.kths != nullptr) given.kths[query] = kth;
}

// Exactly the k best, the lower numbers where scores tie; and they as items, where `items` has room for them.
JCB_KERNEL(kFewThreads, 1) best_of_few(Ranked ranked, Reaching given, const uint32_t* k, LaidOut items) {
  FewShared& shared = *reinterpret_cast<FewShared*>(dynamic_shared());
  const uint32_t query = blockIdx.x;
  if (threadIdx.x == 0) shared.found = 0;
  const KthKey key = kth_score_of_few(ranked, query, *k, shared.digits);
  uint64_t floor = key.is_there ? static_cast<uint64_t>(key.value) << 32 : 0;
  if (key.is_there && key.count > key.wanted) {  // more tie than are wanted: those of the lowest numbers
    const float* const scores = ranked.scores + query * ranked.stride;
    floor |= kth_of_few(scores, ranked.length(query), key.wanted, shared.digits, [&](uint32_t i, float score, bool& counts) {
               counts = key_of(score) == key.value && ranked.counts_score(i, score);
               return counts ? ~ranked.number(query, i) : 0;
             }).value;
  }
  collect(ranked, given, query, floor, 0, kFewThreads, &shared.found);
  block_barrier();
  if (threadIdx.x == 0) given.counts[query] = shared.found;
  if (items.first_tiles == nullptr) return;
  lay_out<kFewThreads>(items, query, given.documents + static_cast<size_t>(query) * given.room,
                       shared.found < given.room ? shared.found : given.room, given.room, shared.digits.of_warps);
}

}  // namespace jcb::cuda
