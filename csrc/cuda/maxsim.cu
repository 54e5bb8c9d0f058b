#include "cuda/maxsim.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>

#include "cuda/kernels/add_pieces.h"
#include "cuda/kernels/centroid_scores.h"
#include "cuda/kernels/maxsim_batch.h"
#include "cuda/kernels/maxsim_exact.h"
#include "cuda/kernels/maxsim_fast.h"
#include "cuda/kernels/maxsim_raw.h"
#include "cuda/kernels/prepare_queries.h"
#include "cuda/tiles.h"
#include "jcb/half.h"

namespace jcb::cuda {
namespace {

constexpr size_t kFewestBatchPieces = 4;     // from which on decoding once is less work than looking up for each
constexpr double kHalfRounding = 0x1p-11;    // of a number that is rounded to fp16, relative
constexpr double kSmallestHalf = 0x1p-25;    // and at least so much
constexpr double kLargestScore = 127.0;      // of a centroid, in steps
constexpr double kMostSteps = 30000.0;       // of anything in fp16, where 65504 is the largest

double longest_centroid_of(const CodecView& codec) {
  double longest = 0.0;
  for (int64_t k = 0; k < codec.centroid_count; ++k) {
    double square = 0.0;
    for (int64_t d = 0; d < codec.dim; ++d) {
      const double value = codec.centroids[k * codec.dim + d];
      square += value * value;
    }
    longest = std::max(longest, std::sqrt(square));
  }
  return longest;
}

// Steps are so large that no centroid score exceeds 127 of them, and nothing leaves fp16: no product of a query with
// levels, and no score of a token.
float span_of(const CodecView& codec, const LevelBytes& levels, double max_sigma, double max_norm) {
  if (codec.nbits == kRawBits) return 1.0f;  // sums are fp32, and of a query in steps no value exceeds 127
  const double longest = longest_centroid_of(codec) * 1.001;
  const double product = levels.largest * std::sqrt(static_cast<double>(codec.dim));
  const double score = max_norm * (longest + max_sigma * product);
  const double span = std::max({longest, product * kLargestScore / kMostSteps, score * kLargestScore / kMostSteps});
  return span > 0.0 ? static_cast<float>(span) : 1.0f;
}

std::vector<uint32_t> words_of(const LevelBytes& levels) {
  int8_t by_kept[kMostLevels] = {};
  for (int i = 0; i < kMostLevels; ++i) by_kept[levels.kept[i]] = levels.integers[i];
  std::vector<uint32_t> words(sizeof by_kept / 4);
  std::memcpy(words.data(), by_kept, sizeof by_kept);
  return words;
}

// What HalfTable reads: the levels in fp16, all high bytes, then all low ones; of 8 bits the unit.
std::vector<uint32_t> halves_of(const CodecView& codec, const LevelBytes& levels) {
  std::vector<uint32_t> words(8);
  if (codec.nbits == kByteBits) words[0] = std::bit_cast<uint32_t>(static_cast<float>(levels.unit));
  for (int i = 0; codec.nbits < kByteBits && i < 1 << codec.nbits; ++i) {
    const uint32_t half = float_to_half(codec.levels[i]), place = levels.kept[i];
    words[place / 4] |= half >> 8 << (place % 4 * 8);
    words[4 + place / 4] |= (half & 255) << (place % 4 * 8);
  }
  return words;
}

// The levels as the exact kernel finds them.
std::vector<float> levels_of(const CodecView& codec, const LevelBytes& levels) {
  if (codec.nbits == kByteBits) return levels.by_rank;
  if (codec.nbits == kRawBits) return {};
  std::vector<float> by_kept(size_t{1} << codec.nbits);
  for (size_t i = 0; i < by_kept.size(); ++i) by_kept[levels.kept[i]] = codec.levels[i];
  return by_kept;
}

// Raw vectors are scored without their centroids.
std::vector<float> centroids_of(const CodecView& codec) {
  if (codec.nbits == kRawBits) return {};
  return {codec.centroids, codec.centroids + codec.centroid_count * codec.dim};
}

CodecView without_pointers(CodecView codec) {
  codec.centroids = codec.cutoffs = codec.levels = nullptr;
  return codec;
}

// The most that a kernel asks for: the fast one, where the query does not fit into registers.
void check_shared_memory(const CodecView& codec, const TileShape& shape) {
  const size_t wide = shape.bits < kByteBits ? fast_shared_bytes<FastShape<1, 0>>(shape)  // `shape` knows the bits
                                             : fast_shared_bytes<FastShape<kRawBits, 0>>(shape);
  const size_t needed = shape.blocks <= 4 ? 0 : wide;
  if (needed <= most_shared_bytes()) return;
  throw std::invalid_argument("the CUDA kernels need " + std::to_string(needed) + " bytes of shared memory for " +
                              std::to_string(codec.dim) + " dimensions of " + std::to_string(codec.nbits) +
                              " bits; this GPU has " + std::to_string(most_shared_bytes()));
}

// So many blocks a piece that together they fill the GPU, and no more than there are tiles for.
unsigned blocks_a_piece(unsigned blocks_a_multiprocessor, size_t pieces, uint64_t warps_of_work, unsigned warps_a_block) {
  const uint64_t room = static_cast<uint64_t>(multiprocessors()) * blocks_a_multiprocessor;
  const uint64_t wanted = (warps_of_work + warps_a_block - 1) / warps_a_block;
  return static_cast<unsigned>(std::clamp<uint64_t>((room + pieces - 1) / pieces, 1, std::max<uint64_t>(wanted, 1)));
}

}  // namespace

DeviceStore::DeviceStore(const StoreView& store, int device, const StoreOptions& options)
    : DeviceStore(store, Tiles(store), device, options) {}

DeviceStore::DeviceStore(const StoreView& store, const Tiles& made, int device, const StoreOptions& options)
    : device(device),
      codec(without_pointers(store.codec)),
      shape(made.shape),
      level_bytes(made.level_bytes),
      span(span_of(store.codec, level_bytes, made.max_sigma, made.max_norm)),
      document_sums(made.sums),
      max_sigma(made.max_sigma),
      max_norm(made.max_norm),
      sums(document_sums, stream),
      centroid_tiles(is_raw() ? std::vector<uint4>{} : cuda::centroid_tiles(store.codec, shape.blocks), stream),
      centroid_halves(is_raw() ? std::vector<uint4>{} : cuda::centroid_halves(store.codec, shape.blocks), stream),
      centroids(centroids_of(store.codec), stream),
      levels(levels_of(store.codec, level_bytes), stream),
      level_words(words_of(level_bytes), stream),
      level_halves(halves_of(store.codec, level_bytes), stream),
      memory_(allocate_tiles(made, options)) {
  check_shared_memory(store.codec, shape);
  keep_freed_memory();
  max_norm = std::max(max_norm, fill_tiles(made, memory_, options, stream));
}

Work DeviceStore::everything() const { return {tiles(), sums.data(), sums.data()}; }

uint32_t DeviceStore::centroid_rows() const {
  if (is_raw()) return 0;
  return static_cast<uint32_t>((codec.centroid_count + kCentroidRows - 1) / kCentroidRows * kCentroidRows);
}

PreparedPieces::PreparedPieces(const DeviceStore& store, uint32_t count)
    : count_(count),
      bytes_(static_cast<size_t>(count) * store.shape.blocks * kColumnTiles * kWarpLanes),
      halves_(2 * bytes_.size()),
      columns_(static_cast<size_t>(count) * store.shape.blocks * kBlockDimensions * kColumns),
      steps_(static_cast<size_t>(count) * kColumns),
      biases_(store.level_bytes.is_symmetric ? static_cast<size_t>(count) * kColumns : 0),
      units_(count),
      scores_(static_cast<size_t>(count) * store.centroid_rows() * kColumns) {}

void PreparedPieces::prepare(const DeviceStore& store, const float* vectors, const Piece* pieces, Stream stream,
                             float* products) const {
  if (count_ == 0) return;
  launch<prepare_queries>(
      stream, count_, kPrepareThreads, 2 * kColumns * sizeof(float),
      PrepareQueries{vectors, pieces, bytes_.data(), halves_.data(), columns_.data(), steps_.data(), units_.data(),
                     biases_.data(), static_cast<int>(store.codec.dim), store.shape.blocks, store.span, store.codec.norm_scale,
                     static_cast<float>(store.level_bytes.unit)});
  const uint32_t row_tiles = store.centroid_rows() / kCentroidRows;
  if (row_tiles == 0) return;
  const unsigned blocks = blocks_a_piece(4, count_, row_tiles, kCentroidThreads / kWarpLanes);
  launch<centroid_scores>(stream, blocks * count_, kCentroidThreads, 0,
                          CentroidScores{store.centroid_tiles.data(), halves_.data(), scores_.data(), row_tiles,
                                         2 * store.shape.blocks, blocks, products});
}

Queries PreparedPieces::view(const DeviceStore& store, const Piece* pieces) const {
  return {pieces,        bytes_.data(),  halves_.data(), columns_.data(),      steps_.data(),
          units_.data(), biases_.data(), scores_.data(), count_, store.centroid_rows()};
}

void check_queries(const float* queries, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    if (!std::isfinite(queries[i])) throw std::invalid_argument("a query has NaN or infinity");
  }
}

DeviceQueries::DeviceQueries(const DeviceStore& store, const float* queries, const int64_t* query_offsets,
                             int64_t query_count)
    : device(store.device),
      store_(store),
      queries_(queries, queries + query_offsets[query_count] * store.codec.dim),
      query_offsets_(query_offsets, query_offsets + query_count + 1) {
  check_queries(queries_.data(), queries_.size());
  const Plan plan(store.document_sums, query_offsets, query_count, Candidates{});
  prepared_ = PreparedPieces(store, static_cast<uint32_t>(plan.pieces.size()));
  const DeviceArray<float> vectors(queries_, store.stream);
  const DeviceArray<Piece> pieces(plan.pieces, store.stream);
  prepared_.prepare(store, vectors.data(), pieces.data(), store.stream);
  synchronise(store.stream);  // before the vectors go
}

// The arrays of a plan on the device, for as long as a kernel reads them.
struct DeviceQueries::Launch {
  Launch(const DeviceQueries& call, const Plan& plan)
      : pieces(plan.pieces, call.store_.stream),
        first_tiles(plan.first_tiles, call.store_.stream),
        tile_sums(plan.tile_sums, call.store_.stream),
        work(plan.tile_sums.empty() ? call.store_.everything()
                                    : Work{call.store_.tiles(), first_tiles.data(), tile_sums.data()}),
        queries(call.prepared_.view(call.store_, pieces.data())) {}

  const DeviceArray<Piece> pieces;
  const DeviceArray<uint64_t> first_tiles, tile_sums;
  const Work work;
  const Queries queries;
};

void launch_add(const QuerySum* sums, size_t count, uint64_t scores_a_query, const float* partial, float* scores,
                Stream stream) {
  const unsigned blocks = blocks_a_piece(8, count, scores_a_query / kWarpLanes + 1, kAddThreads / kWarpLanes);
  launch<add_pieces>(stream, blocks * static_cast<unsigned>(count), kAddThreads, 0, sums, blocks, partial, scores);
}

void DeviceQueries::score(const Candidates& candidates, bool exact, float* scores) const {
  const Plan plan(store_.document_sums, query_offsets_.data(), static_cast<int64_t>(query_offsets_.size()) - 1, candidates);
  if (plan.score_count == 0) return;
  const DeviceArray<float> partial(plan.partial_count);
  const Launch arrays(*this, plan);
  run(plan, arrays, exact, partial.data());
  synchronise(store_.stream);
  if (!plan.needs_sums) {
    from_device(scores, partial.data(), plan.score_count * sizeof(float), store_.stream);
    return;
  }
  const DeviceArray<QuerySum> sums(plan.sums, store_.stream);
  const DeviceArray<float> whole(plan.score_count);
  launch_add(sums.data(), plan.sums.size(), plan.score_count / plan.sums.size(), partial.data(), whole.data(),
             store_.stream);
  from_device(scores, whole.data(), plan.score_count * sizeof(float), store_.stream);
}

void DeviceQueries::run(const Plan& plan, const Launch& arrays, bool exact, float* partial) const {
  if (exact) {
    score_exact(plan, arrays, partial);
  } else if (plan.is_one_range) {
    launch_scan(store_, arrays.queries, arrays.work, plan.most_tiles, store_.stream, partial);
  } else {
    launch_fast(store_, arrays.queries, arrays.work, plan.most_tiles, store_.stream, partial);
  }
}

std::vector<double> DeviceQueries::time_scans(int repeats) const {
  const int64_t start = 0, end = store_.documents();
  Candidates all;
  all.starts = &start;
  all.ends = &end;
  all.range_count = 1;
  const Plan plan(store_.document_sums, query_offsets_.data(), static_cast<int64_t>(query_offsets_.size()) - 1, all);
  const DeviceArray<float> partial(plan.partial_count);
  const Launch arrays(*this, plan);
  Timer timer;
  std::vector<double> seconds;
  for (int i = 0; i < repeats && plan.partial_count != 0; ++i) {
    timer.begin(store_.stream);
    run(plan, arrays, false, partial.data());
    seconds.push_back(timer.end(store_.stream));
  }
  return seconds;
}

// work.operator()<bits, blocks>() for the codes of a store; 0 blocks stand for more than the kernels know of.
template <class Work>
void with_shape(const TileShape& shape, const Work& work) {
  const auto with_blocks = [&]<int kBits>() {
    switch (shape.blocks) {
      case 1: return work.template operator()<kBits, 1>();
      case 2: return work.template operator()<kBits, 2>();
      case 3: return work.template operator()<kBits, 3>();
      case 4: return work.template operator()<kBits, 4>();
      default: return work.template operator()<kBits, 0>();
    }
  };
  switch (shape.bits) {
    case 1: return with_blocks.template operator()<1>();
    case 2: return with_blocks.template operator()<2>();
    case 4: return with_blocks.template operator()<4>();
    case kByteBits: return with_blocks.template operator()<kByteBits>();
    default: return with_blocks.template operator()<kRawBits>();
  }
}

void launch_fast(const DeviceStore& store, const Queries& queries, const Work& work, uint64_t most_tiles, Stream stream,
                 float* partial) {
  const unsigned blocks = blocks_a_piece(4, queries.piece_count, most_tiles, kFastWarps) * queries.piece_count;
  with_shape(store.shape, [&]<int kBits, int kBlocks>() {
    const size_t shared = fast_shared_bytes<FastShape<kBits, kBlocks>>(store.shape);
    if constexpr (kBits == kRawBits) {
      launch<maxsim_raw<kBlocks>>(stream, blocks, kFastThreads, shared, work, queries, store.shape.blocks, partial);
    } else {
      const auto with_table = [&]<bool kSymmetric>() {
        launch<maxsim_fast<kBits, kBlocks, kSymmetric>>(stream, blocks, kFastThreads, shared, work, queries,
                                                        store.level_words.data(), store.shape.blocks, partial);
      };
      if constexpr (kBits == 4) {
        if (store.level_bytes.is_symmetric) return with_table.template operator()<true>();
      }
      with_table.template operator()<false>();
    }
  });
}

void launch_batch(const DeviceStore& store, const Queries& queries, const Work& work, uint64_t most_tiles, Stream stream,
                  float* partial) {
  const unsigned groups = (queries.piece_count + kBatchWarps - 1) / kBatchWarps;
  const unsigned blocks = blocks_a_piece(2, groups, most_tiles, kBatchWarps);
  with_shape(store.shape, [&]<int kBits, int kBlocks>() {
    if constexpr (kBlocks == 0) {
      throw std::logic_error("no batch kernel has so many dimensions");
    } else {
      launch<maxsim_batch<kBits, kBlocks>>(stream, blocks * groups, kBatchThreads, batch_shared_bytes(store.shape), work,
                                           queries, store.centroid_halves.data(), store.level_halves.data(), blocks,
                                           partial);
    }
  });
}

void launch_scan(const DeviceStore& store, const Queries& queries, const Work& work, uint64_t most_tiles, Stream stream,
                 float* partial) {
  const bool in_batches = queries.piece_count >= kFewestBatchPieces && store.shape.blocks <= kMostBatchBlocks;
  (in_batches ? launch_batch : launch_fast)(store, queries, work, most_tiles, stream, partial);
}

namespace {
Decoding decoding_of(const DeviceStore& store) {
  return {store.centroids.data(),
          store.levels.data(),
          store.ranks(),
          static_cast<int>(store.codec.dim),
          store.shape.bits,
          store.level_bytes.rank_bits,
          store.shape.blocks,
          store.codec.norm_scale};
}

// work.operator()<width>(): bits of a code, 4 for all that are looked up.
template <class Work>
void with_width(const TileShape& shape, const Work& work) {
  switch (shape.bits) {
    case kByteBits: return work.template operator()<kByteBits>();
    case kRawBits: return work.template operator()<kRawBits>();
    default: return work.template operator()<4>();
  }
}
}  // namespace

namespace {
unsigned exact_blocks(uint32_t query_count, uint32_t room) { return blocks_a_piece(4, query_count, room, 1); }
}  // namespace

size_t exact_zeros(uint32_t query_count, uint32_t room) {
  return size_t{exact_blocks(query_count, room)} * query_count * (kColumns + 1);
}

void launch_exact(const DeviceStore& store, const Queries& queries, const DocumentLists& lists, uint32_t query_count,
                  Stream stream, uint32_t* zeros, float* scores) {
  const unsigned blocks = exact_blocks(query_count, lists.room);
  const SharedDocuments shared{zeros, zeros + size_t{blocks} * query_count * kColumns};
  with_width(store.shape, [&]<int kWidth>() {
    launch<maxsim_exact_lists<kWidth>>(stream, blocks * query_count, kExactThreads, kExactSharedBytes, store.everything(),
                                       queries, decoding_of(store), lists, blocks, shared, scores);
  });
}

void DeviceQueries::score_exact(const Plan& plan, const Launch& arrays, float* partial) const {
  if (plan.partial_count > 0x7fffffff) throw std::invalid_argument("more than 2 billion exact scores in one call");
  with_width(store_.shape, [&]<int kWidth>() {
    launch<maxsim_exact<kWidth>>(store_.stream, static_cast<unsigned>(plan.partial_count), kExactThreads, kExactSharedBytes,
                                 arrays.work, arrays.queries, decoding_of(store_), partial);
  });
}

// Of raw vectors: the query, rounded to fp16, and sums in fp32. The matrix units may cut off where they add: a step of
// 16 dimensions is granted 18 last places of the largest sum that there can be. Then the sums of the exact score.
namespace {
double raw_error_bound(const DeviceStore& store, const float* query, int64_t tokens) {
  const int64_t dim = store.codec.dim;
  double lengths = 0.0;
  for (int64_t token = 0; token < tokens; ++token) {
    double square = 0.0;
    for (int64_t d = 0; d < dim; ++d) {
      const double value = query[token * dim + d];
      square += value * value;
    }
    lengths += std::sqrt(square);
  }
  // A step is 1/127 of the length: below 2^-14 of one, fp16 is evenly spaced.
  const double rounding = kHalfRounding + kSmallestHalf * std::sqrt(static_cast<double>(dim)) / kLargestScore;
  const double sums = 6.0 * static_cast<double>(dim + 64) * 0x1p-24;
  return lengths * store.max_norm * (rounding + sums) * 1.01 * store.codec.norm_scale;
}
}  // namespace

// In steps of a query token, per query token; see prepare_queries.h and maxsim_fast.h for what is rounded:
//   centroids  rounded to a byte, after a product of fp16 operands
//   products   every dimension of the query and every level rounded to its integer
//   fp16       norm * sigma, the product, norm * centroid score, and their sum
// In maxsim_batch.h instead, dimension by dimension: the query, the centroid, its product with the norm, the level (of
// 8 bits its integer, and norm * sigma * unit), norm * sigma, and the sum. The larger of the two holds for both. Then
// what fp32 sums of the exact score may be off.
double error_bound(const DeviceStore& store, const float* query, int64_t tokens) {
  if (store.is_raw()) return raw_error_bound(store, query, tokens);
  const int64_t dim = store.codec.dim;
  const LevelBytes& levels = store.level_bytes;
  const double root = std::sqrt(static_cast<double>(dim)), norm = store.max_norm, size = norm * store.max_sigma;
  double bound = 0.0;
  for (int64_t begin = 0; begin < tokens; begin += kColumns) {
    const int64_t end = std::min<int64_t>(begin + kColumns, tokens);
    std::vector<double> steps;
    double ratio = 0.0;
    for (int64_t token = begin; token < end; ++token) {
      double square = 0.0, largest = 0.0;  // of fp32 values: nothing leaves a double
      for (int64_t d = 0; d < dim; ++d) {
        const double value = query[token * dim + d];
        square += value * value;
        largest = std::max(largest, std::fabs(value));
      }
      steps.push_back(std::max(std::sqrt(square) * 1.00001, largest) * store.span / kLargestScore);
      if (steps.back() > 0.0) ratio = std::max(ratio, largest / kLargestScore / steps.back());
    }
    for (int64_t token = begin; token < end; ++token) {
      const double step = steps[token - begin];
      if (step == 0.0) continue;
      double sum = 0.0, rounding = 0.0;  // of |q_d| and of what their integers miss, in steps
      for (int64_t d = 0; d < dim; ++d) {
        const double value = std::fabs(query[token * dim + d]) / step;
        sum += value;
        rounding += std::fabs(value - ratio * std::nearbyint(value / ratio)) + 1e-3 * ratio;
      }
      const double products = sum * levels.largest;
      const double centroid = 0.5 + kLargestScore * (2.0 * kHalfRounding + 0x1p-18) +
                              kSmallestHalf * root * (kLargestScore / store.span + store.span);
      // Of a symmetric table, half an integer's product is rounded as well.
      const double product =
          sum * levels.error + rounding * (levels.largest + levels.error) + levels.offset * ratio * levels.unit;
      const double halves = size * products * 3.0 * kHalfRounding + 2.0 * kSmallestHalf * (products + 1.0) +
                            kLargestScore * norm * 2.0 * kHalfRounding;
      const double batch = kLargestScore * norm * 4.0 * kHalfRounding + size * products * 4.0 * kHalfRounding +
                           kSmallestHalf * (norm * root * (kLargestScore / store.span + store.span) + products +
                                            2.0 * sum * (1.0 + store.max_sigma) + 2.0 * root);
      const double integers =
          store.shape.bits == kByteBits ? size * sum * levels.error + kSmallestHalf * kLargestScore * sum : 0.0;
      const double exact = 2.0 * static_cast<double>(dim + 64) * 0x1p-24 * (kLargestScore * norm + size * products);
      bound += step * (std::max(norm * centroid + size * product + halves, (batch + integers) * 1.01) + exact);
    }
  }
  return bound * 1.01 * store.codec.norm_scale;
}

double DeviceQueries::error_bound(int64_t query) const {
  return cuda::error_bound(store_, queries_.data() + query_offsets_[query] * store_.codec.dim,
                           query_offsets_[query + 1] - query_offsets_[query]);
}

}  // namespace jcb::cuda
