// The products of Family::kDot in a tile unit, for maxsim_quantized_loops.h: 16 document tokens at a time.
#pragma once
#include <cstdint>

#include "cpu/maxsim_quantized_loops.h"

namespace jcb::maxsim {
namespace {  // private to each file that includes this: see simd_scalar.h

// Registers 0 and 1 are sums, 2 and 3 weights of 64 dimensions each, 4 to 7 what a query has there.
template <class Simd, int kBits>
class TiledDot {
 public:
  static constexpr int kHalves = 1;

  JCB_INLINE explicit TiledDot(const FastTile& tile)
      : tile_(tile),
        depth_((tile.code_bytes + TileWeights<kBits>::kCodeBytes - 1) / TileWeights<kBits>::kCodeBytes),
        stays_(depth_ <= 2) {
    if (stays_) load_query(0);
  }

  JCB_INLINE void score(const FastTile& tile, const CodeReader& reader, const uint8_t* codes, int first, int last,
                        const FastChunk& chunk, typename Simd::Words (&best)[1]) {
    const TileWeights<kBits> weights_of(tile.weights);
    const auto shifts = Simd::fill_shifts(tile.shift);
    // The sums of a group are read while the unit multiplies the next one: it takes some hundred cycles to answer.
    int turn = 0;
    for (int t0 = first; t0 < last; t0 += kTileTokens, turn ^= 1) {
      const int count = last - t0 < kTileTokens ? last - t0 : kTileTokens;
      unfold(weights_of, reader, codes + (t0 - first) * reader.code_bytes(), count);
      multiply(sums_[turn]);
      if (t0 > first) keep(chunk, t0 - kTileTokens, kTileTokens, shifts, sums_[turn ^ 1], best);
    }
    const int left = (last - first) % kTileTokens == 0 ? kTileTokens : (last - first) % kTileTokens;
    keep(chunk, last - left, left, shifts, sums_[turn ^ 1], best);
  }

 private:
  static constexpr int kTileTokens = 16;
  static constexpr int kColumns = sizeof(typename Simd::Words) / sizeof(int16_t);

  JCB_INLINE void unfold(const TileWeights<kBits>& weights_of, const CodeReader& reader, const uint8_t* codes,
                         int count) {
    constexpr int64_t kCodeBytes = TileWeights<kBits>::kCodeBytes;
    const int64_t whole = reader.blocks() * kCodeBlock / kCodeBytes < depth_ ? depth_ - 1 : depth_;
    uint8_t* weights = weights_;
    if (depth_ == 2 && whole == 2) {  // 128 dimensions: the loop over two steps would take longer than the steps
      for (int t = 0; t < count; ++t, codes += reader.code_bytes(), weights += 128) {
        weights_of(codes, weights);
        weights_of(codes + kCodeBytes, weights + 64);
      }
      return;
    }
    for (int t = 0; t < count; ++t, codes += reader.code_bytes(), weights += 64 * depth_) {
      for (int64_t d = 0; d < whole; ++d) weights_of(codes + d * kCodeBytes, weights + 64 * d);
      if (whole == depth_) continue;
      weights_of.short_of(codes + whole * kCodeBytes, reader.blocks() - whole * kCodeBytes / kCodeBlock,
                          weights + 64 * whole);
    }
  }

  // Two steps of 64 dimensions from `step` on.
  JCB_INLINE void load_query(int64_t step) {
    constexpr int64_t kStride = 4 * kColumns;
    const int8_t* query = tile_.query + step * 16 * kStride;
    unit_.template load<4>(query, kStride);
    if (kColumns == 32) unit_.template load<5>(query + 64, kStride);
    if (step + 1 == depth_) return;
    unit_.template load<6>(query + 16 * kStride, kStride);
    if (kColumns == 32) unit_.template load<7>(query + 16 * kStride + 64, kStride);
  }

  JCB_INLINE void multiply(int32_t* sums) {
    const int64_t stride = 64 * depth_;
    unit_.template load<0>(tile_.start32, 0);  // the same row for every token
    if (kColumns == 32) unit_.template load<1>(tile_.start32 + 16, 0);
    for (int64_t step = 0; step < depth_; step += 2) {
      if (!stays_) load_query(step);
      unit_.template load<2>(weights_ + 64 * step, stride);
      unit_.template multiply<0, 2, 4>();
      if (kColumns == 32) unit_.template multiply<1, 2, 5>();
      if (step + 1 == depth_) break;
      unit_.template load<3>(weights_ + 64 * step + 64, stride);
      unit_.template multiply<0, 3, 6>();
      if (kColumns == 32) unit_.template multiply<1, 3, 7>();
    }
    unit_.template store<0>(sums, 4 * kColumns);
    if (kColumns == 32) unit_.template store<1>(sums + 16, 4 * kColumns);
  }

  template <class Shifts>
  static JCB_INLINE void keep(const FastChunk& chunk, int first, int count, const Shifts& shifts, const int32_t* sums,
                              typename Simd::Words (&best)[1]) {
#pragma GCC unroll 4
    for (int t = first; t < first + count; ++t, sums += kColumns) {
      Simd::prefetch(chunk.scores[t + kPrefetchTokens]);
      const typename Simd::Words a[1] = {Simd::words_of_sums(sums, shifts)};
      keep_best<Simd, 1>(chunk, t, a, best);
    }
  }

  TileUnit unit_;
  const FastTile& tile_;
  const int64_t depth_;  // steps of 64 dimensions
  const bool stays_;     // the query in its registers
  alignas(64) int32_t sums_[2][kTileTokens * kColumns];
  alignas(64) uint8_t weights_[kTileTokens * kLargestDimensions];  // a row per token; of a short group whatever was there
};

template <class Simd, int kBits>
bool score_tiles(const FastTile& tile, const TokenScale& scale, const TokenArrays& tokens, const TokenRun* runs,
                 int64_t count, float* scores) {
  using Wide = typename Simd::OfThirtyTwo;
  return tile.columns == 32 ? score_tile<Wide, TiledDot<Wide, kBits>>(tile, scale, tokens, runs, count, scores)
                            : score_tile<Simd, TiledDot<Simd, kBits>>(tile, scale, tokens, runs, count, scores);
}

template <class Simd>
bool score_fast_by_tiles(const FastTile& tile, const TokenScale& scale, const TokenArrays& tokens, const TokenRun* runs,
                         int64_t count, float* scores) {
  switch (tile.bits) {
    case 1:
      return score_tiles<Simd, 1>(tile, scale, tokens, runs, count, scores);
    case 2:
      return score_tiles<Simd, 2>(tile, scale, tokens, runs, count, scores);
    case 4:
      return score_tiles<Simd, 4>(tile, scale, tokens, runs, count, scores);
    default:
      return score_tiles<Simd, 8>(tile, scale, tokens, runs, count, scores);
  }
}

}  // namespace
}  // namespace jcb::maxsim
