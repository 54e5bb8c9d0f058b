#include "jcb/codec.h"

#include <algorithm>
#include <string>
#include <vector>

#include "cpu/vector_kernels.h"
#include "jcb/half.h"

namespace jcb {
namespace {

constexpr int64_t kTokensPerItem = 1024;

const float* centroid_of(const CodecView& codec, uint32_t id) {
  if (id >= codec.centroid_count) {
    throw CorruptIndex("a token names centroid " + std::to_string(id) + " of a codec that has " +
                       std::to_string(codec.centroid_count) + ": centroid_ids are damaged; run `jcb-index verify`");
  }
  return codec.centroids + id * codec.dim;
}

}  // namespace

void quantize(const Machine& machine, const CodecView& codec, const float* vectors, const uint32_t* centroid_ids,
              int64_t tokens, uint8_t* codes, uint16_t* sigmas, uint16_t* norms) {
  machine.pool.for_each((tokens + kTokensPerItem - 1) / kTokensPerItem, [&](int64_t item) {
    std::vector<float> residual(codec.dim);
    std::vector<uint8_t> indices(codec.dim);
    const int64_t last = std::min(tokens, (item + 1) * kTokensPerItem);
    for (int64_t t = item * kTokensPerItem; t < last; ++t) {
      machine.kernels.quantize(codec, vectors + t * codec.dim, centroid_of(codec, centroid_ids[t]), residual.data(),
                               indices.data(), codes + t * codec.code_bytes(), sigmas + t, norms + t);
    }
  });
}

void dequantize(const Machine& machine, const CodecView& codec, const uint32_t* centroid_ids, const uint8_t* codes,
                const uint16_t* sigmas, const uint16_t* norms, int64_t tokens, float* vectors) {
  machine.pool.for_each((tokens + kTokensPerItem - 1) / kTokensPerItem, [&](int64_t item) {
    const int64_t last = std::min(tokens, (item + 1) * kTokensPerItem);
    for (int64_t t = item * kTokensPerItem; t < last; ++t) {
      machine.kernels.dequantize(codec, centroid_of(codec, centroid_ids[t]), codes + t * codec.code_bytes(),
                                 half_to_float(sigmas[t]), half_to_float(norms[t]) * codec.norm_scale,
                                 vectors + t * codec.dim);
    }
  });
}

}  // namespace jcb
