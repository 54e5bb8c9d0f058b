// Postings of probed centroids -> a sum for every document of the gains of the query tokens that found it.
//
//   score(d) = sum over tokens of max(frontier, best score of the token's probes whose posting holds d)
//
// A token's frontier is the same for all documents, so what tells them apart is the sum of the gains over it: integers,
// which come out the same in any order. A block takes one token and a range of documents. It reads the postings from the
// best probe down, and keeps a bit for each document that it has met: only the first meeting gains.
#pragma once
#include "cuda/posting_range.h"
#include "cuda/query_layout.h"

namespace jcb::cuda {

constexpr int kPostingThreads = 256;
constexpr uint32_t kMostProbes = 256;
constexpr int kPostingsAhead = 4;           // lists whose entries are on their way while one is read
// Gains have zeros below, so that two passes find the best sums. Of all tokens together, without them: with them it is, as
// a float's bits, still a number.
constexpr int kGainZeros = 10;
constexpr float kFullGain = 0x7f000000 >> kGainZeros;

// Of each query token, what collect_reaching found: centroids that beat the frontier, in no order.
struct Probes {
  const uint32_t* counts;     // [pieces][32]
  const uint32_t* centroids;  // [pieces][32][most]
  const float* scores;        // likewise, in the token's steps
  const float* frontiers;     // [pieces][32]
  uint32_t most;              // at most kMostProbes
};

struct Gains {
  const PostingRange* ranges;
  uint32_t range_count;
  const float* steps;              // of Queries
  const uint32_t* query_of_piece;  // [pieces]
  const uint32_t* first_pieces;    // [queries + 1]
  uint32_t* sums;                  // [queries][documents], zeros before; at most kFullGain, with its zeros
  uint64_t documents;
};

// What a block has in shared memory, beside a bit for each document.
struct ProbeOrder {
  uint64_t begins[kMostProbes];
  uint32_t lengths[kMostProbes], gains[kMostProbes];
};
constexpr size_t postings_shared_bytes(uint32_t range_documents) {
  return sizeof(ProbeOrder) + (range_documents + 31) / 32 * sizeof(uint32_t);
}

// Steps of all tokens of a query, for every lane of a warp.
JCB_DEVICE float steps_of_query(const Gains& given, uint32_t query) {
  float sum = 0.0f;
  for (uint32_t piece = given.first_pieces[query]; piece < given.first_pieces[query + 1]; ++piece) {
    sum += given.steps[piece * kColumns + threadIdx.x % kWarpLanes];
  }
  for (int bits = 1; bits < kWarpLanes; bits *= 2) sum += shuffle_xor(sum, bits);
  return sum;
}

// No score is beyond 128 steps: a gain is below 256 of them.
JCB_DEVICE uint32_t gain_of(float score, float frontier, float share) {
  return static_cast<uint32_t>(fmaxf(1.0f, rintf((score - frontier) * (1.0f / 256.0f) * share * kFullGain))) << kGainZeros;
}

JCB_KERNEL(kPostingThreads, 4) accumulate_postings(Probes probes, Gains given) {
  ProbeOrder& order = *reinterpret_cast<ProbeOrder*>(dynamic_shared());
  uint32_t* const met = reinterpret_cast<uint32_t*>(dynamic_shared() + sizeof(ProbeOrder));
  const uint32_t token = blockIdx.x / given.range_count, piece = token / kColumns;
  const PostingRange range = given.ranges[blockIdx.x % given.range_count];
  const uint32_t query = given.query_of_piece[piece], count = probes.counts[token];
  if (count == 0) return;

  const float all_steps = steps_of_query(given, query);
  const float share = all_steps > 0.0f ? given.steps[token] / all_steps : 0.0f;
  const float* const scores = probes.scores + static_cast<size_t>(token) * probes.most;
  const uint32_t* const centroids = probes.centroids + static_cast<size_t>(token) * probes.most;
  for (uint32_t i = threadIdx.x; i < count; i += kPostingThreads) {
    uint32_t place = 0;  // the best first
    for (uint32_t j = 0; j < count; ++j) {
      place += scores[j] > scores[i] || (scores[j] == scores[i] && centroids[j] < centroids[i]);
    }
    order.begins[place] = range.begins[centroids[i]];
    order.lengths[place] = static_cast<uint32_t>(range.ends[centroids[i]] - range.begins[centroids[i]]);
    order.gains[place] = gain_of(scores[i], probes.frontiers[token], share);
  }
  for (uint32_t i = threadIdx.x; i < (range.count + 31) / 32; i += kPostingThreads) met[i] = 0;
  block_barrier();

  uint32_t* const sums = given.sums + query * given.documents + range.start;
  for (uint32_t first = 0; first < count; first += kPostingsAhead) {
    uint32_t ahead[kPostingsAhead] = {};
#pragma unroll
    for (int j = 0; j < kPostingsAhead; ++j) {
      const bool there = first + j < count && threadIdx.x < order.lengths[first + j];
      if (there) ahead[j] = range.documents[order.begins[first + j] + threadIdx.x];
    }
#pragma unroll
    for (int j = 0; j < kPostingsAhead; ++j) {
      if (first + j >= count) break;
      const uint32_t length = order.lengths[first + j], gain = order.gains[first + j];
      const uint32_t* const documents = range.documents + order.begins[first + j];
      for (uint32_t i = threadIdx.x; i < length; i += kPostingThreads) {
        const uint32_t document = (i == threadIdx.x ? ahead[j] : documents[i]) - range.first, bit = 1u << (document & 31);
        if ((or_atomically(&met[document / 32], bit) & bit) == 0) add_atomically(&sums[document], gain);
      }
      block_barrier();  // who meets a document later meets it by a worse probe
    }
  }
}

}  // namespace jcb::cuda
