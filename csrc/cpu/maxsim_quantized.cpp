// Queries of one call. Tables are built when a query is first used: callers' threads share that work, and a call that
// asks for error bounds alone converts no centroid scores.
#include "cpu/maxsim_quantized.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/maxsim_quantized_tables.h"
#include "cpu/rounding.h"
#include "cpu/row_blocks.h"
#include "cpu/word_table.h"

namespace jcb::maxsim {
namespace {

constexpr int64_t kDocumentsPerBlock = 32;   // codes of a block stay in the second-level cache for all tiles

void check_arguments(const CodecView& codec, const int64_t* query_offsets, int64_t query_count) {
  if (codec.nbits != 1 && codec.nbits != 2 && codec.nbits != 4 && codec.nbits != 8) {
    throw std::invalid_argument("maxsim_quantized got codes of " + std::to_string(codec.nbits) +
                                " bits; allowed are 1, 2, 4 and 8 (raw vectors have an operation of their own)");
  }
  if (codec.dim < 1 || codec.dim > kLargestDimensions) {
    throw std::invalid_argument("maxsim_quantized got vectors of " + std::to_string(codec.dim) +
                                " dimensions; allowed are 1 to " + std::to_string(kLargestDimensions));
  }
  for (int64_t i = 0; i < query_count; ++i) {
    const int64_t tokens = query_offsets[i + 1] - query_offsets[i];
    if (tokens >= 0 && tokens <= kLargestQueryTokens) continue;
    throw std::invalid_argument("maxsim_quantized got query " + std::to_string(i) + " of " + std::to_string(tokens) +
                                " tokens; allowed are 0 to " + std::to_string(kLargestQueryTokens) + ": cut the query");
  }
}

void check_levels(const CodecView& codec) {
  for (int i = 0; i < 1 << codec.nbits; ++i) {
    if (!std::isfinite(codec.levels[i])) {
      throw CorruptIndex("level " + std::to_string(i) + " of the codec is not a finite number; run `jcb-index verify`");
    }
  }
}

void check_finite(const float* values, int64_t count) {
  if (std::all_of(values, values + count, [](float value) { return std::isfinite(value); })) return;
  throw std::invalid_argument("a query vector holds NaN or infinity; only finite numbers are allowed");
}

TokenArrays token_arrays(const SegmentView& segment, int64_t centroid_count) {
  return {segment.tokens, segment.codes, segment.centroid_ids_16, segment.centroid_ids_32, segment.sigmas,
          segment.norms, static_cast<uint32_t>(centroid_count)};
}

TokenRun run_of(const SegmentView& segment, uint32_t document) {
  if (document >= segment.documents) {
    throw CorruptIndex("document " + std::to_string(document) + " of a segment that has " +
                       std::to_string(segment.documents) + ": a posting list is damaged; run `jcb-index verify`");
  }
  const TokenRun run{segment.doc_offsets[document], segment.doc_offsets[document + 1]};
  if (run.begin < 0 || run.begin > run.end || run.end > segment.tokens) {
    throw CorruptIndex("document " + std::to_string(document) + " has tokens " + std::to_string(run.begin) + " to " +
                       std::to_string(run.end) + " of a segment that has " + std::to_string(segment.tokens) +
                       ": doc_offsets are damaged; run `jcb-index verify`");
  }
  return run;
}

float larger_size(float size, float value) { return size < std::fabs(value) ? std::fabs(value) : size; }

// One query, its tables made at first use.
struct Query {
  const float* vectors = nullptr;  // [tokens, D]
  int64_t first = 0;               // token of the call
  int tokens = 0;
  std::once_flag tiles_once, scores_once, errors_once, exact_once;
  std::vector<Tile> tiles;
  AlignedArray<float> transposed;  // of the exact form
};

class Prepared final : public PreparedQueries {
 public:
  Prepared(const Kernels& kernels, const CodecView& codec, const float* queries, const int64_t* query_offsets,
           int64_t query_count, CentroidScoreView scores)
      : kernels_(kernels),
        codec_(codec),
        centroid_scores_(scores.table),
        words_(scores.words),
        stride_(query_offsets[query_count]),
        count_(query_count),
        fast_is_exact_(codec.nbits > 2 && kernels.dot.largest_weight == 0),
        lattice_(codec, kernels.dot),
        queries_(std::make_unique<Query[]>(query_count)),
        longest_centroid_(scores.longest_centroid) {
    for (int64_t i = 0; i < query_count; ++i) {
      queries_[i].vectors = queries + query_offsets[i] * codec.dim;
      queries_[i].first = query_offsets[i];
      queries_[i].tokens = static_cast<int>(query_offsets[i + 1] - query_offsets[i]);
    }
    fill_levels_of_byte();
  }

  int64_t query_count() const override { return count_; }

  void make_ready(int64_t query_number, const ThreadPool& pool) const override {
    if (!fast_is_exact_ && have_centroid_scores()) make_ready(queries_[query_number], &pool);
  }

  void score_fast(const SegmentView& segment, int64_t query_number, const uint32_t* documents, int64_t count,
                  float* scores) const override {
    if (fast_is_exact_) return score_exact(segment, query_number, documents, count, scores);
    check_centroid_scores();
    Query& query = queries_[query_number];
    make_ready(query, nullptr);
    const TokenArrays arrays = token_arrays(segment, codec_.centroid_count);
    for_blocks(segment, documents, count, scores, [&](const TokenRun* runs, int64_t block, float* block_scores) {
      bool sound = true;
      for (const Tile& tile : query.tiles) {
        const TokenScale scale = tile.scale(segment.max_sigma, segment.max_norm);
        sound = sound && kernels_.fast(tile.view(), scale, arrays, runs, block, block_scores);
      }
      return sound;
    });
  }

  void score_exact(const SegmentView& segment, int64_t query_number, const uint32_t* documents, int64_t count,
                   float* scores) const override {
    Query& query = queries_[query_number];
    std::call_once(query.exact_once, [&] {
      check_finite(query.vectors, query.tokens * codec_.dim);
      transpose(query);
    });
    const ExactQuery exact{columns_of(query), query.tokens, codec_.nbits, codec_.dim, codec_.code_bytes(),
                           query.transposed.get(), levels_of_byte_.get(), codec_.centroids, codec_.norm_scale,
                           segment.max_norm, segment.max_sigma};
    const TokenArrays arrays = token_arrays(segment, codec_.centroid_count);
    for_blocks(segment, documents, count, scores, [&](const TokenRun* runs, int64_t block, float* block_scores) {
      return query.tokens == 0 || kernels_.exact(exact, arrays, runs, block, block_scores);
    });
  }

  float error_bound(int64_t query_number, float max_sigma, float max_norm) const override {
    if (words_ != nullptr) throw std::logic_error("fast scores by a table of words have no proven bound");
    if (fast_is_exact_) return 0.0f;
    Query& query = queries_[query_number];
    build_tiles(query, nullptr);
    std::call_once(query.errors_once, [&] {
      const float* vectors = query.vectors;
      for (Tile& tile : query.tiles) {
        if (tile.view().family == Family::kDot) tile.measure_dot_error(lattice_, vectors);
        vectors += 32 * codec_.dim;
      }
    });
    double bound = 0.0;
    const double longest = longest_centroid();
    for (const Tile& tile : query.tiles) bound += tile.error_bound(max_sigma, max_norm, query.tokens, longest);
    return std::nextafter(static_cast<float>(bound), std::numeric_limits<float>::infinity());
  }

 private:
  static int columns_of(const Query& query) { return (query.tokens + 15) / 16 * 16; }

  bool have_centroid_scores() const { return centroid_scores_ != nullptr || words_ != nullptr; }

  void check_centroid_scores() const {
    if (!have_centroid_scores()) throw std::logic_error("queries prepared without centroid scores have no fast scores");
  }

  // Calls score(runs, count, scores) for blocks of documents, scores being 0, or -inf where a document is empty.
  template <class Score>
  void for_blocks(const SegmentView& segment, const uint32_t* documents, int64_t count, float* scores,
                  const Score& score) const {
    TokenRun runs[kDocumentsPerBlock];
    for (int64_t first = 0; first < count; first += kDocumentsPerBlock) {
      const int64_t block = std::min(kDocumentsPerBlock, count - first);
      for (int64_t i = 0; i < block; ++i) {
        runs[i] = run_of(segment, documents[first + i]);
        scores[first + i] = runs[i].begin == runs[i].end ? -std::numeric_limits<float>::infinity() : 0.0f;
      }
      if (score(runs, block, scores + first)) continue;
      throw CorruptIndex("a token names a centroid that is not among the " + std::to_string(codec_.centroid_count) +
                         " of the codec: centroid_ids are damaged; run `jcb-index verify`");
    }
  }

  Family family_of(int tokens) const {
    if (codec_.nbits >= kernels_.least_dot_bits) return Family::kDot;
    return tokens > 16 ? Family::kRowBytes : Family::kRowWords;
  }

  void make_ready(Query& query, const ThreadPool* pool) const {
    build_tiles(query, pool);
    std::call_once(query.scores_once, [&] {
      int64_t first = query.first;
      for (Tile& tile : query.tiles) {
        if (words_ != nullptr) {
          tile.take_word_scores(*words_, first, pool);
        } else {
          tile.convert_centroid_scores(kernels_.convert_scores, centroid_scores_ + first, codec_.centroid_count,
                                       stride_, pool);
        }
        first += tile.view().columns;
      }
    });
  }

  void build_tiles(Query& query, const ThreadPool* pool) const {
    std::call_once(query.tiles_once, [&] {
      check_finite(query.vectors, query.tokens * codec_.dim);
      const std::vector<double> largest_scores = largest_centroid_scores(query, pool);
      query.tiles.reserve((query.tokens + 31) / 32);
      for (int first = 0; first < query.tokens; first += 32) {
        const int left = std::min(query.tokens - first, 32);
        const TileTokens tokens{query.vectors + first * codec_.dim, left, largest_scores.data() + first};
        query.tiles.emplace_back(family_of(left), left > 16 ? 32 : 16, codec_, lattice_, kernels_.dot, tokens);
      }
    });
  }

  // [tokens]. Without fp32 scores of all centroids, the bound of Cauchy and Schwarz (and 1e-4 of it for fp32 products).
  std::vector<double> largest_centroid_scores(const Query& query, const ThreadPool* pool) const {
    std::vector<double> largest(query.tokens);
    if (centroid_scores_ == nullptr) {
      const double longest = longest_centroid() * 1.0001;
      for (int t = 0; t < query.tokens; ++t) largest[t] = length(query.vectors + t * codec_.dim, codec_.dim) * longest;
      return largest;
    }
    for (int first = 0; first < query.tokens; first += kScoreColumns) {
      const int count = std::min(kScoreColumns, query.tokens - first);
      const float* column = centroid_scores_ + query.first + first;
      const int64_t safe = rows_to_read_beyond(codec_.centroid_count, stride_, kScoreColumns);
      std::vector<float> sizes((row_blocks(safe) + 1) * kScoreColumns);
      for_row_blocks(pool, safe, [&](int64_t block, int64_t begin, int64_t end) {
        kernels_.largest_sizes(column + begin * stride_, end - begin, stride_, &sizes[block * kScoreColumns]);
      });
      for (int64_t k = safe; k < codec_.centroid_count; ++k) {
        for (int t = 0; t < count; ++t) sizes[t] = larger_size(sizes[t], column[k * stride_ + t]);
      }
      for (size_t i = 0; i < sizes.size(); ++i) {
        const int t = static_cast<int>(i % kScoreColumns);
        if (t < count) largest[first + t] = std::max<double>(largest[first + t], sizes[i]);
      }
    }
    return largest;
  }

  double longest_centroid() const {
    if (words_ != nullptr) return words_->longest_centroid();
    std::call_once(longest_once_, [&] {
      if (longest_centroid_ == 0.0) longest_centroid_ = jcb::longest_centroid(codec_, nullptr);
    });
    return longest_centroid_;
  }

  void transpose(Query& query) const {
    const int columns = columns_of(query);
    const int64_t rows = codec_.code_bytes() * (8 / codec_.nbits);
    query.transposed = make_aligned<float>(rows * columns);
    for (int t = 0; t < query.tokens; ++t) {
      for (int64_t d = 0; d < codec_.dim; ++d) query.transposed[d * columns + t] = query.vectors[t * codec_.dim + d];
    }
  }

  void fill_levels_of_byte() {
    const int per_byte = 8 / codec_.nbits, mask = (1 << codec_.nbits) - 1;
    levels_of_byte_ = make_aligned<float>(256 * per_byte);
    for (int i = 0; i < 256 * per_byte; ++i) {
      levels_of_byte_[i] = codec_.levels[i / per_byte >> (i % per_byte * codec_.nbits) & mask];
    }
  }

  const Kernels& kernels_;
  const CodecView codec_;
  const float* const centroid_scores_;
  const WordTable* const words_;
  const int64_t stride_;
  const int64_t count_;
  const bool fast_is_exact_;
  const LevelLattice lattice_;
  AlignedArray<float> levels_of_byte_;
  std::unique_ptr<Query[]> queries_;
  mutable std::once_flag longest_once_;
  mutable double longest_centroid_;
};

}  // namespace

}  // namespace jcb::maxsim

namespace jcb {

double longest_centroid(const CodecView& codec, const ThreadPool* pool) {
  std::vector<float> squares(std::max<int64_t>(1, maxsim::row_blocks(codec.centroid_count)));
  maxsim::for_row_blocks(pool, codec.centroid_count, [&](int64_t block, int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const float* centroid = codec.centroids + k * codec.dim;
      float square = 0.0f;
      for (int64_t d = 0; d < codec.dim; ++d) square += centroid[d] * centroid[d];
      squares[block] = std::max(squares[block], square);
    }
  });
  const double largest = *std::max_element(squares.begin(), squares.end());
  return std::sqrt(largest) * (1.0 + 1e-7 * static_cast<double>(codec.dim));
}

std::unique_ptr<PreparedQueries> prepare_queries(const maxsim::Kernels& kernels, const CodecView& codec,
                                                 const float* queries, const int64_t* query_offsets,
                                                 int64_t query_count, CentroidScoreView scores) {
  maxsim::check_arguments(codec, query_offsets, query_count);
  maxsim::check_levels(codec);
  return std::make_unique<maxsim::Prepared>(kernels, codec, queries, query_offsets, query_count, scores);
}

}  // namespace jcb
