// The fp32 loop of maxsim_quantized, written once: as maxsim_quantized_loops.h.
#pragma once
#include <cstdint>
#include <cstring>

#include "cpu/maxsim_quantized.h"
#include "cpu/maxsim_quantized_tokens.h"

namespace jcb::maxsim {
namespace {  // private to each file that includes this: see simd_scalar.h

constexpr int64_t kLine = 64;  // bytes that are prefetched at once

// Per-token scalars. Whole vectors are written.
struct ExactChunk {
  alignas(64) uint32_t centroid_ids[kTokensPerChunk];
  alignas(64) float sigmas[kTokensPerChunk];
  alignas(64) float norms[kTokensPerChunk];
};

// kTokens tokens against kVectors vectors of query tokens. Sums run over dimensions in order, whatever the tiling.
template <class Simd, int kTokens, int kVectors>
JCB_INLINE void exact_columns(const ExactQuery& query, const ExactChunk& chunk, const int (&token)[kTokens],
                              const float* values, int64_t dims, int column, float* best) {
  typename Simd::Floats sums[kTokens][kVectors];
  for (auto& row : sums) {
    for (auto& sum : row) sum = Simd::fill(0.0f);
  }
  const float* q = query.query + column;
  for (int64_t d = 0; d < dims; ++d, q += query.columns) {
    typename Simd::Floats value[kTokens];
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) value[t] = Simd::fill(values[t * dims + d]);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const auto row = Simd::load_floats(q + v * Simd::kFloatLanes);
#pragma GCC unroll 8
      for (int t = 0; t < kTokens; ++t) sums[t][v] = Simd::multiply_add(value[t], row, sums[t][v]);
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    const int first = column + v * Simd::kFloatLanes;
    auto largest = Simd::load_floats(best + first);
#pragma GCC unroll 8
    for (int t = 0; t < kTokens; ++t) {
      largest = Simd::maximum(Simd::multiply(Simd::fill(chunk.norms[token[t]]), sums[t][v]), largest);
    }
    Simd::store_floats(best + first, largest);
  }
}

// What is left of the columns, in the fewest vectors that hold it: at most kVectors.
template <class Simd, int kTokens, int kVectors>
JCB_INLINE void exact_rest(const ExactQuery& query, const ExactChunk& chunk, const int (&token)[kTokens],
                           const float* values, int64_t dims, int column, float* best) {
  if constexpr (kVectors > 0) {
    if (query.tokens - column > (kVectors - 1) * Simd::kFloatLanes) {
      exact_columns<Simd, kTokens, kVectors>(query, chunk, token, values, dims, column, best);
    } else {
      exact_rest<Simd, kTokens, kVectors - 1>(query, chunk, token, values, dims, column, best);
    }
  }
}

// values = levels of codes, for whole bytes of code. Those past the last dimension meet zeros of the query.
template <class Simd, int kBits, class Table>
JCB_INLINE void decode_levels(const uint8_t* codes, int64_t bytes, const float* levels_of_byte, const Table& table,
                              float* values) {
  constexpr int kPerByte = 8 / kBits;
  int64_t byte = 0;
  if constexpr (Simd::kPermutesLevels && kBits <= 4) {  // a register of levels at a time
    constexpr int kBytes = Simd::kFloatLanes / kPerByte;
    for (; byte + kBytes <= bytes; byte += kBytes) {
      Simd::store_floats(values + byte * kPerByte, Simd::template levels_of<kBits>(codes + byte, table));
    }
  }
  for (; byte < bytes; ++byte) {
    std::memcpy(values + byte * kPerByte, levels_of_byte + codes[byte] * kPerByte, kPerByte * sizeof(float));
  }
}

// values = centroid + sigma * values. What whole registers reach beyond `dim` meets zeros of the query, or is the next
// token's and decoded after this, or lies behind the last token and is never read.
template <class Simd>
JCB_INLINE void add_centroid(const float* centroid, float sigma, int64_t dim, float* values) {
  const auto size = Simd::fill(sigma);
  int64_t d = 0;
  for (; d + Simd::kFloatLanes <= dim; d += Simd::kFloatLanes) {
    Simd::store_floats(values + d, Simd::multiply_add(size, Simd::load_floats(values + d), Simd::load_floats(centroid + d)));
  }
  if (d < dim) {
    const auto rest = Simd::load_floats(centroid + d, static_cast<int>(dim - d));
    Simd::store_floats(values + d, Simd::multiply_add(size, Simd::load_floats(values + d), rest));
  }
}

template <class Simd>
JCB_INLINE void prefetch_centroid(const ExactQuery& query, uint32_t id) {
  const char* row = reinterpret_cast<const char*>(query.centroids + static_cast<int64_t>(id) * query.dim);
  const int64_t bytes = query.dim * static_cast<int64_t>(sizeof(float));
  for (int64_t at = 0; at < bytes; at += kLine) Simd::prefetch(row + at);
}

template <class Simd, int kBits>
bool score_exact_bits(const ExactQuery& query, const TokenArrays& tokens, const TokenRun* runs, int64_t count,
                      float* scores) {
  constexpr int kTokens = Simd::kExactTokens, kPerByte = 8 / kBits;
  alignas(64) float values[kTokens * kLargestDimensions + Simd::kFloatLanes];
  alignas(64) float best[kLargestQueryTokens];
  ExactChunk chunk;
  const int64_t dims = query.code_bytes * kPerByte;
  float levels[16];  // of a nibble: what its first code stands for
  for (int n = 0; n < 16; ++n) levels[n] = query.levels_of_byte[n * kPerByte];
  const typename Simd::LevelTable table(levels);
  for (int64_t i = 0; i < count; ++i) {
    if (i + 1 < count) prefetch_document<Simd>(tokens, runs[i + 1], query.code_bytes);
    if (runs[i].begin == runs[i].end) continue;
    for (int c = 0; c < query.columns; ++c) best[c] = c < query.tokens ? -__builtin_inff() : 0.0f;
    for (int64_t first = runs[i].begin; first < runs[i].end; first += kTokensPerChunk) {
      const int64_t left = runs[i].end - first;
      const int length = static_cast<int>(left < kTokensPerChunk ? left : kTokensPerChunk);
      if (!load_centroid_ids(tokens, first, length, chunk.centroid_ids)) return false;
      for (int t = 0; t < kTokens && t < length; ++t) prefetch_centroid<Simd>(query, chunk.centroid_ids[t]);
      Simd::token_scalars(tokens.sigmas + first, tokens.norms + first, length, query.max_sigma, query.max_norm,
                          query.norm_scale, chunk.sigmas, chunk.norms);
      for (int t0 = 0; t0 < length; t0 += kTokens) {
        int token[kTokens];
        for (int t = 0; t < kTokens; ++t) {
          token[t] = t0 + t < length ? t0 + t : length - 1;
          decode_levels<Simd, kBits>(tokens.codes + (first + token[t]) * query.code_bytes, query.code_bytes,
                                     query.levels_of_byte, table, values + t * dims);
          add_centroid<Simd>(query.centroids + static_cast<int64_t>(chunk.centroid_ids[token[t]]) * query.dim,
                             chunk.sigmas[token[t]], query.dim, values + t * dims);
          if (t0 + kTokens + t < length) prefetch_centroid<Simd>(query, chunk.centroid_ids[t0 + kTokens + t]);
        }
        int column = 0;
        for (; column + 32 <= query.tokens; column += 32) {
          exact_columns<Simd, kTokens, 32 / Simd::kFloatLanes>(query, chunk, token, values, dims, column, best);
        }
        if (column < query.tokens) {
          exact_rest<Simd, kTokens, 32 / Simd::kFloatLanes>(query, chunk, token, values, dims, column, best);
        }
      }
    }
    auto sum = Simd::fill(0.0f);
    for (int c = 0; c < query.columns; c += Simd::kFloatLanes) sum = Simd::add(sum, Simd::load_floats(best + c));
    scores[i] = Simd::sum(sum);
  }
  return true;
}

template <class Simd>
bool score_exact(const ExactQuery& query, const TokenArrays& tokens, const TokenRun* runs, int64_t count,
                 float* scores) {
  switch (query.bits) {
    case 1:
      return score_exact_bits<Simd, 1>(query, tokens, runs, count, scores);
    case 2:
      return score_exact_bits<Simd, 2>(query, tokens, runs, count, scores);
    case 4:
      return score_exact_bits<Simd, 4>(query, tokens, runs, count, scores);
    default:
      return score_exact_bits<Simd, 8>(query, tokens, runs, count, scores);
  }
}

}  // namespace
}  // namespace jcb::maxsim
