// Scores as integers of the same order.
#pragma once
#include "cuda/machine.h"

namespace jcb::cuda {

JCB_DEVICE uint32_t key_of(float score) {
  const uint32_t bits = bits_of_float(score + 0.0f);  // + 0 makes one zero of two
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}
JCB_DEVICE float score_of(uint32_t key) { return float_of_bits(key >> 31 ? key & 0x7fffffffu : ~key); }

// A score and a document as one integer: higher scores, then lower numbers, are higher.
JCB_DEVICE uint64_t place_key(float score, uint32_t number) { return static_cast<uint64_t>(key_of(score)) << 32 | ~number; }

}  // namespace jcb::cuda
