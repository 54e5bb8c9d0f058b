#include "jcb/maxsim_store.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/candidates.h"
#include "cpu/rounding.h"
#include "jcb/read_ahead.h"

namespace jcb {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kLongestQuery = 1024;  // of PreparedQueries

// What adding the scores of several pieces may round away, in the fast and in the exact sum together: per addition half
// a unit in the last place of a sum that is at most the sum of |q| times the longest decoded vector. Looks at all
// centroids, for the rare query that is longer than a piece.
double sum_error(const CodecView& codec, const SegmentView& segment, const float* queries, int64_t tokens,
                 int64_t pieces) {
  double largest_level = 0.0, query_lengths = 0.0;
  for (int i = 0; i < 1 << codec.nbits; ++i) {
    largest_level = std::max(largest_level, std::abs(static_cast<double>(codec.levels[i])));
  }
  for (int64_t q = 0; q < tokens; ++q) query_lengths += maxsim::length(queries + q * codec.dim, codec.dim);
  const double residual = segment.max_sigma * largest_level * std::sqrt(static_cast<double>(codec.dim));
  const double longest = segment.max_norm * codec.norm_scale * (longest_centroid(codec, nullptr) + residual);
  return 2.0 * (pieces - 1) * 0x1p-23 * query_lengths * longest;  // twice the half unit: room for its own rounding
}

}  // namespace

PreparedCall::PreparedCall(const Machine& machine, const CodecView& codec, const float* queries,
                           const int64_t* query_offsets, int64_t query_count, CentroidScoreView scores)
    : kernels_(&machine.maxsim_kernels),
      queries_(queries, queries + query_offsets[query_count] * codec.dim),
      query_offsets_(query_offsets, query_offsets + query_count + 1),
      piece_offsets_{0} {
  for (int64_t q = 0; q < query_count; ++q) {
    first_piece_.push_back(static_cast<int64_t>(piece_offsets_.size()) - 1);
    for (int64_t end = query_offsets[q]; end < query_offsets[q + 1];) {
      end = std::min(end + kLongestQuery, query_offsets[q + 1]);
      piece_offsets_.push_back(end);
    }
  }
  first_piece_.push_back(static_cast<int64_t>(piece_offsets_.size()) - 1);
  pieces_ = prepare_queries(*kernels_, codec, queries_.data(), piece_offsets_.data(), first_piece_.back(), scores);
}

bool PreparedCall::is_for(const Machine& machine, const float* queries, const int64_t* query_offsets,
                          int64_t query_count) const {
  return &machine.maxsim_kernels == kernels_ && query_count == this->query_count() &&
         std::equal(query_offsets_.begin(), query_offsets_.end(), query_offsets) &&
         same_bits(queries_, queries);
}

void PreparedCall::score(const SegmentView& segment, int64_t query, const uint32_t* documents, int64_t count,
                         bool exact, float* scores) const {
  const int64_t first = first_piece_[query], last = first_piece_[query + 1];
  if (first == last) return score_empty_query(segment, documents, count, scores);
  const auto score_piece = [&](int64_t piece, float* piece_scores) {
    if (exact) return pieces_->score_exact(segment, piece, documents, count, piece_scores);
    pieces_->score_fast(segment, piece, documents, count, piece_scores);
  };
  score_piece(first, scores);
  std::vector<float> more(first + 1 < last ? count : 0);
  for (int64_t piece = first + 1; piece < last; ++piece) {
    score_piece(piece, more.data());
    for (int64_t i = 0; i < count; ++i) scores[i] += more[i];
  }
}

void PreparedCall::make_ready(const ThreadPool& pool) const {
  for (int64_t piece = 0; piece < pieces_->query_count(); ++piece) pieces_->make_ready(piece, pool);
}

float PreparedCall::error_bound(const CodecView& codec, const SegmentView& segment, int64_t query) const {
  const int64_t first = first_piece_[query], last = first_piece_[query + 1];
  if (first == last) return 0.0f;
  double bound = 0.0;
  for (int64_t piece = first; piece < last; ++piece) {
    bound += pieces_->error_bound(piece, segment.max_sigma, segment.max_norm);
  }
  if (last - first == 1) return static_cast<float>(bound);
  const int64_t tokens = query_offsets_[query + 1] - query_offsets_[query];
  bound += sum_error(codec, segment, queries_.data() + query_offsets_[query] * codec.dim, tokens, last - first);
  return std::nextafter(static_cast<float>(bound), kInfinity);
}

void maxsim_quantized(const Machine& machine, const StoreView& store, const PreparedCall& call,
                      const Candidates& candidates, bool exact, float* scores) {
  read_ahead_codes(machine, store, call.query_count(), candidates);
  if (!exact && call.query_count() == 1) call.make_ready(machine.pool);  // of many, each thread makes its own ready
  const auto score_block = [&](const SegmentView& segment, int64_t query, const uint32_t* documents, int64_t count,
                               float* block_scores) {
    call.score(segment, query, documents, count, exact, block_scores);
  };
  score_candidates(machine.pool, store, call.query_count(), candidates, score_block, scores);
}

void score_error_bound(const StoreView& store, const PreparedCall& call, float* bounds) {
  for (int64_t q = 0; q < call.query_count(); ++q) {
    bounds[q] = 0.0f;
    for (const SegmentView& segment : store.segments) {
      bounds[q] = std::max(bounds[q], call.error_bound(store.codec, segment, q));
    }
  }
}

}  // namespace jcb
