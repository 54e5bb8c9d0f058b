// The kernels of select.h, launched.
#pragma once
#include <algorithm>

#include "cuda/device.h"
#include "cuda/kernels/select.h"

namespace jcb::cuda {

// The k-th largest of `ranked` is then in its digits. most: scores of a query.
inline void launch_count(const Ranked& ranked, const uint32_t* k, uint32_t queries, uint32_t most, Stream stream) {
  const unsigned blocks = std::max<uint32_t>(1, std::min<uint32_t>(most / kScoresABlock, 4 * multiprocessors() / queries));
  for (int pass = 0; pass < kDigitPasses; ++pass) {
    launch<count_digits>(stream, blocks * queries, kSelectThreads, kSelectSharedBytes, ranked, k, pass, blocks);
  }
}

inline void launch_collect(const Ranked& ranked, const Reaching& reaching, const uint32_t* k, uint32_t queries, uint32_t most,
                           Stream stream) {
  const unsigned blocks = std::max<uint32_t>(1, std::min<uint32_t>(most / kScoresABlock, 8 * multiprocessors() / queries));
  launch<collect_reaching>(stream, blocks * queries, kSelectThreads, sizeof(uint64_t), ranked, reaching, k, blocks);
}

}  // namespace jcb::cuda
