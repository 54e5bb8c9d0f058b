// Centroid ids of document tokens, checked as they are read. Included by the loops.
#pragma once
#include <cstdint>

#include "cpu/maxsim_quantized.h"

namespace jcb::maxsim {
namespace {  // private to each file that includes this: see simd_scalar.h

constexpr int kTokensPerChunk = 64;  // whose scalars are converted together

// False if one is not below centroid_count.
template <class Id>
JCB_INLINE bool copy_centroid_ids(const Id* from, int count, uint32_t centroid_count, uint32_t* to) {
  uint32_t largest = 0;
  for (int i = 0; i < count; ++i) {
    to[i] = from[i];
    largest = largest > to[i] ? largest : to[i];
  }
  return largest < centroid_count;
}

JCB_INLINE bool load_centroid_ids(const TokenArrays& tokens, int64_t first, int count, uint32_t* to) {
  return tokens.centroid_ids_16 != nullptr
             ? copy_centroid_ids(tokens.centroid_ids_16 + first, count, tokens.centroid_count, to)
             : copy_centroid_ids(tokens.centroid_ids_32 + first, count, tokens.centroid_count, to);
}

// Asks for the beginning of a document's arrays, while the one before it is scored: documents of a list lie anywhere, and
// what prefetches by itself in a processor begins anew with each.
template <class Simd>
JCB_INLINE void prefetch_document(const TokenArrays& tokens, const TokenRun& run, int64_t code_bytes) {
  constexpr int64_t kLine = 64, kCodeLines = 16;
  const int64_t left = (run.end - run.begin) * code_bytes;
  const uint8_t* codes = tokens.codes + run.begin * code_bytes;
  for (int64_t i = 0; i < kCodeLines && i * kLine < left; ++i) Simd::prefetch(codes + i * kLine);
  Simd::prefetch(tokens.sigmas + run.begin);
  Simd::prefetch(tokens.norms + run.begin);
  if (tokens.centroid_ids_16 != nullptr) {
    Simd::prefetch(tokens.centroid_ids_16 + run.begin);
  } else {
    Simd::prefetch(tokens.centroid_ids_32 + run.begin);
  }
}

}  // namespace
}  // namespace jcb::maxsim
