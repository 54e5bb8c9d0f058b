// What a search on the GPU gives back to the host.
#pragma once
#include <cstdint>
#include <vector>

namespace jcb::cuda {

// Of each query the documents that could be among its k best, in no order, with their exact scores.
struct Found {
  std::vector<int64_t> offsets;  // [queries + 1]
  std::vector<uint32_t> documents;
  std::vector<float> scores;
};

constexpr uint32_t kMostWanted = 4096;  // k

}  // namespace jcb::cuda
