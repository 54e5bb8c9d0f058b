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

}  // namespace
}  // namespace jcb::maxsim
