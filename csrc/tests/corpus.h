// Seeded codecs, segments and queries for tests and benchmarks, and MaxSim in double precision to compare with.
#pragma once
#include <cstdint>
#include <random>
#include <vector>

#include "jcb/store.h"

namespace jcb::tests {

// Levels of a unit Gaussian: Lloyd-Max at 1, 2 and 4 bits, quantiles at 8.
std::vector<float> gaussian_levels(int nbits);

struct CorpusOptions {
  int64_t dim = 128;
  int nbits = 2;  // 16: raw
  int64_t centroid_count = 64;
  std::vector<int64_t> document_lengths;
  std::vector<float> levels = {};  // gaussian_levels(nbits) where empty
  float sigma = 0.04f;             // tokens have 0.5 to 1 of it
  float norm = 1.0f;               // of the decoded vectors
  float norm_scale = 1.0f;
  bool wide_ids = false;
  uint64_t seed = 1;
};

// A codec and one segment, in arrays of exactly the size that the format gives them.
struct Corpus {
  explicit Corpus(const CorpusOptions& options);

  CodecView codec() const;
  SegmentView segment() const;
  double decoded(int64_t token, int64_t dimension) const;  // before the norm
  double norm(int64_t token) const;
  void set_code(int64_t token, int64_t dimension, int code);
  void set_value(int64_t token, int64_t dimension, uint16_t half);  // of a raw token

  CorpusOptions options;
  std::vector<float> centroids, levels;
  std::vector<int64_t> doc_offsets;
  std::vector<uint8_t> codes;
  std::vector<uint16_t> ids_16, sigmas, norms;
  std::vector<uint32_t> ids_32;
  std::vector<uint32_t> all_documents;

 private:
  void add_token(int64_t token, std::mt19937_64& random);
  void add_raw_token(int64_t token, std::mt19937_64& random);
};

struct Queries {
  // Unit vectors times `norm`; lengths may hold 0.
  Queries(const Corpus& corpus, const std::vector<int64_t>& lengths, uint64_t seed, float norm = 1.0f);
  void score_centroids(const Corpus& corpus);

  std::vector<float> vectors, centroid_scores;
  std::vector<int64_t> offsets;
};

double reference_score(const Corpus& corpus, const Queries& queries, int64_t query, uint32_t document);

}  // namespace jcb::tests
