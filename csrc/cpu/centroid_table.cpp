#include "jcb/centroid_table.h"

#include <algorithm>

#include "cpu/panels.h"
#include "cpu/word_table.h"
#include "jcb/centroids.h"

namespace jcb {

struct CentroidTable::Floats {
  FloatBuffer values;
};

void DeleteByteCentroids::operator()(const maxsim::ByteCentroids* centroids) const { delete centroids; }

std::unique_ptr<const maxsim::ByteCentroids, DeleteByteCentroids> make_byte_centroids(const Machine& machine,
                                                                                     const CodecView& codec) {
  const maxsim::Kernels& kernels = machine.maxsim_kernels;
  if (kernels.words.rows_at_once == 0 || codec.dim > maxsim::kLargestDimensions) return nullptr;
  return std::unique_ptr<const maxsim::ByteCentroids, DeleteByteCentroids>(
      new maxsim::ByteCentroids(kernels, codec, machine.pool));
}

CentroidTable::CentroidTable(const Machine& machine, const CodecView& codec, const float* queries, int64_t tokens,
                             double longest_centroid)
    : rows_(codec.centroid_count),
      tokens_(tokens),
      longest_centroid_(longest_centroid),
      floats_(std::make_unique<Floats>(Floats{FloatBuffer(rows_ * tokens_ + kTablePadding)})) {
  inner_products(machine, codec.centroids, rows_, queries, tokens_, codec.dim, floats_->values.data());
}

CentroidTable::CentroidTable(const Machine& machine, const maxsim::ByteCentroids& centroids, const float* queries,
                             int64_t tokens)
    : rows_(centroids.rows()),
      tokens_(tokens),
      longest_centroid_(centroids.longest()),
      words_(std::make_unique<const maxsim::WordTable>(centroids, queries, tokens, machine.pool)) {}

CentroidTable::~CentroidTable() = default;

CentroidScoreView CentroidTable::view() const {
  return {is_exact() ? floats_->values.data() : nullptr, words_.get(), longest_centroid_};
}

void CentroidTable::best(const Machine& machine, int64_t count, int64_t* ids, float* scores) const {
  if (is_exact()) return best_centroids(machine, floats_->values.data(), rows_, tokens_, count, ids, scores);
  words_->best(machine.pool, count, ids, scores);
}

void CentroidTable::copy_to(float* scores) const {
  if (is_exact()) {
    std::copy_n(floats_->values.data(), rows_ * tokens_, scores);
    return;
  }
  for (int64_t k = 0; k < rows_; ++k) {
    for (int64_t t = 0; t < tokens_; ++t) scores[k * tokens_ + t] = words_->step(t) * words_->row(k)[t];
  }
}

}  // namespace jcb
