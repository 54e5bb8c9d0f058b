#include "jcb/maxsim_store.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "cpu/candidates.h"
#include "cpu/maxsim_raw.h"
#include "cpu/panels.h"
#include "jcb/centroids.h"

namespace jcb {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int kRawBits = 16;
constexpr int64_t kLongestQuery = 1024;  // of PreparedQueries

// Queries cut into pieces of 1 to kLongestQuery tokens; MaxSim is a sum over tokens, so the pieces' scores add up.
struct Pieces {
  std::vector<int64_t> offsets{0};       // [pieces + 1] in query tokens
  std::vector<int64_t> first_of_query;   // [queries + 1] in pieces; a query without tokens has none

  Pieces(const int64_t* query_offsets, int64_t query_count) {
    for (int64_t q = 0; q < query_count; ++q) {
      first_of_query.push_back(count());
      for (int64_t end = query_offsets[q]; end < query_offsets[q + 1];) {
        end = std::min(end + kLongestQuery, query_offsets[q + 1]);
        offsets.push_back(end);
      }
    }
    first_of_query.push_back(count());
  }

  int64_t count() const { return static_cast<int64_t>(offsets.size()) - 1; }
};

// What adding the scores of several pieces may round away, in the fast and in the exact sum together: per addition half
// a unit in the last place of a sum that is at most |pieces' scores| <= sum of |q| times the longest decoded vector.
class SumError {
 public:
  explicit SumError(const CodecView& codec) : codec_(codec) {
    for (int64_t k = 0; k < codec.centroid_count; ++k) {
      longest_centroid_ = std::max(longest_centroid_, length(codec.centroids + k * codec.dim));
    }
    for (int i = 0; i < 1 << codec.nbits; ++i) {
      largest_level_ = std::max(largest_level_, std::abs(static_cast<double>(codec.levels[i])));
    }
  }

  double bound(const SegmentView& segment, const float* queries, int64_t tokens, int64_t pieces) const {
    double query_lengths = 0.0;
    for (int64_t q = 0; q < tokens; ++q) query_lengths += length(queries + q * codec_.dim);
    const double residual = segment.max_sigma * largest_level_ * std::sqrt(static_cast<double>(codec_.dim));
    const double longest = segment.max_norm * codec_.norm_scale * (longest_centroid_ + residual);
    return 2.0 * (pieces - 1) * 0x1p-23 * query_lengths * longest;  // twice the half unit: room for its own rounding
  }

 private:
  double length(const float* vector) const {
    double square = 0.0;
    for (int64_t d = 0; d < codec_.dim; ++d) square += static_cast<double>(vector[d]) * vector[d];
    return std::sqrt(square);
  }

  const CodecView& codec_;
  double longest_centroid_ = 0.0, largest_level_ = 0.0;
};

}  // namespace

void maxsim_quantized(const Machine& machine, const StoreView& store, const float* queries,
                      const int64_t* query_offsets, int64_t query_count, const Candidates& candidates, bool exact,
                      const float* table, float* scores) {
  const CodecView& codec = store.codec;
  if (codec.nbits == kRawBits) {
    return maxsim_raw(machine, store, queries, query_offsets, query_count, candidates, scores);
  }
  const int64_t query_tokens = query_offsets[query_count];
  FloatBuffer own_table;
  if (table == nullptr) {
    own_table = FloatBuffer(codec.centroid_count * query_tokens + kTablePadding);
    centroid_scores(machine, codec.centroids, codec.centroid_count, queries, query_tokens, codec.dim, own_table.data());
    table = own_table.data();
  }
  const Pieces pieces(query_offsets, query_count);
  const std::unique_ptr<PreparedQueries> prepared =
      machine.prepare_queries(codec, queries, pieces.offsets.data(), pieces.count(), table);

  const auto score_piece = [&](const SegmentView& segment, int64_t piece, const uint32_t* documents, int64_t count,
                               float* piece_scores) {
    if (exact) {
      prepared->score_exact(segment, piece, documents, count, piece_scores);
    } else {
      prepared->score_fast(segment, piece, documents, count, piece_scores);
    }
  };
  const auto score_block = [&](const SegmentView& segment, int64_t query, const uint32_t* documents, int64_t count,
                               float* block_scores) {
    const int64_t first = pieces.first_of_query[query], last = pieces.first_of_query[query + 1];
    if (first == last) return score_empty_query(segment, documents, count, block_scores);
    score_piece(segment, first, documents, count, block_scores);
    std::vector<float> more(first + 1 < last ? count : 0);
    for (int64_t piece = first + 1; piece < last; ++piece) {
      score_piece(segment, piece, documents, count, more.data());
      for (int64_t i = 0; i < count; ++i) block_scores[i] += more[i];
    }
  };
  score_candidates(machine.pool, store, query_count, candidates, score_block, scores);
}

void score_error_bound(const Machine& machine, const StoreView& store, const float* queries,
                       const int64_t* query_offsets, int64_t query_count, float* bounds) {
  std::fill_n(bounds, query_count, 0.0f);
  if (store.codec.nbits == kRawBits) return;
  const Pieces pieces(query_offsets, query_count);
  const std::unique_ptr<PreparedQueries> prepared =
      machine.prepare_queries(store.codec, queries, pieces.offsets.data(), pieces.count(), nullptr);
  std::optional<SumError> sum_error;  // looks at all centroids, for queries that need it
  for (int64_t q = 0; q < query_count; ++q) {
    const int64_t first = pieces.first_of_query[q], last = pieces.first_of_query[q + 1];
    if (last - first > 1 && !sum_error) sum_error.emplace(store.codec);
    for (const SegmentView& segment : store.segments) {
      double bound = 0.0;
      for (int64_t piece = first; piece < last; ++piece) {
        bound += prepared->error_bound(piece, segment.max_sigma, segment.max_norm);
      }
      if (last - first > 1) {
        bound += sum_error->bound(segment, queries + query_offsets[q] * store.codec.dim,
                                  query_offsets[q + 1] - query_offsets[q], last - first);
      }
      bounds[q] = std::max(bounds[q], std::nextafter(static_cast<float>(bound), kInfinity));
    }
    if (first == last) bounds[q] = 0.0f;
  }
}

}  // namespace jcb
