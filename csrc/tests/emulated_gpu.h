// What the tests of the emulated GPU share.
#pragma once
#include <cstdlib>
#include <vector>

#include "cuda/device.h"
#include "tests/corpus.h"

namespace jcb::tests {

inline StoreView store_of(const Corpus& corpus) {
  StoreView store;
  store.codec = corpus.codec();
  store.segments = {corpus.segment()};
  store.segment_starts = {0, store.segments[0].documents};
  return store;
}

// A copy on the host.
template <class Value>
std::vector<Value> back(const cuda::DeviceArray<Value>& array) {
  std::vector<Value> values(array.size());
  if (!values.empty()) cuda::from_device(values.data(), array.data(), values.size() * sizeof(Value), {});
  return values;
}

// JCB_EMULATION_SEED: where the orders of threads begin, to try others.
inline void take_seed_from_environment() {
  if (const char* seed = std::getenv("JCB_EMULATION_SEED")) {
    cuda::emulation::settings.seed = static_cast<uint32_t>(std::strtoul(seed, nullptr, 10));
  }
}

}  // namespace jcb::tests
