#include "tests/corpus.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "jcb/half.h"

namespace jcb::tests {
namespace {

// x with P(Gaussian < x) = probability, by bisection.
double gaussian_quantile(double probability) {
  double low = -8.0, high = 8.0;
  for (int i = 0; i < 60; ++i) {
    const double middle = (low + high) / 2.0;
    (0.5 * std::erfc(-middle / std::sqrt(2.0)) < probability ? low : high) = middle;
  }
  return low;
}

std::vector<float> unit_vectors(int64_t count, int64_t dim, std::mt19937_64& random) {
  std::normal_distribution<float> gaussian;
  std::vector<float> vectors(count * dim);
  for (float& value : vectors) value = gaussian(random);
  for (int64_t i = 0; i < count; ++i) {
    float* vector = &vectors[i * dim];
    const double norm = std::sqrt(std::inner_product(vector, vector + dim, vector, 1e-30));
    for (int64_t d = 0; d < dim; ++d) vector[d] = static_cast<float>(vector[d] / norm);
  }
  return vectors;
}

}  // namespace

std::vector<float> gaussian_levels(int nbits) {
  if (nbits == 1) return {-0.7979f, 0.7979f};
  if (nbits == 2) return {-1.5104f, -0.4528f, 0.4528f, 1.5104f};
  if (nbits == 4) {
    return {-2.7326f, -2.0690f, -1.6181f, -1.2562f, -0.9424f, -0.6568f, -0.3881f, -0.1284f,
            0.1284f,  0.3881f,  0.6568f,  0.9424f,  1.2562f,  1.6181f,  2.0690f,  2.7326f};
  }
  std::vector<float> levels(256);
  for (int i = 0; i < 256; ++i) levels[i] = static_cast<float>(gaussian_quantile((i + 0.5) / 256.0));
  return levels;
}

Corpus::Corpus(const CorpusOptions& given) : options(given), levels(given.levels) {
  std::mt19937_64 random(options.seed);
  if (levels.empty() && options.nbits != 16) levels = gaussian_levels(options.nbits);
  centroids = unit_vectors(options.centroid_count, options.dim, random);
  for (float& value : centroids) value *= 0.9f;
  doc_offsets.push_back(0);
  for (const int64_t length : options.document_lengths) doc_offsets.push_back(doc_offsets.back() + length);
  all_documents.resize(options.document_lengths.size());
  std::iota(all_documents.begin(), all_documents.end(), 0u);

  const int64_t tokens = doc_offsets.back();
  codes.assign(tokens * codec().code_bytes(), 0);
  for (int64_t t = 0; t < tokens; ++t) options.nbits == 16 ? add_raw_token(t, random) : add_token(t, random);
}

void Corpus::add_token(int64_t token, std::mt19937_64& random) {
  std::normal_distribution<float> gaussian;
  std::uniform_real_distribution<float> half_to_one(0.5f, 1.0f);
  const uint32_t id = static_cast<uint32_t>(random() % options.centroid_count);
  if (options.wide_ids) {
    ids_32.push_back(id);
  } else {
    ids_16.push_back(static_cast<uint16_t>(id));
  }
  sigmas.push_back(float_to_half(options.sigma * half_to_one(random)));
  double square = 0.0;
  for (int64_t d = 0; d < options.dim; ++d) {
    const float value = gaussian(random);
    int code = 0;
    for (int i = 1; i < 1 << options.nbits; ++i) {
      if (std::fabs(value - levels[i]) < std::fabs(value - levels[code])) code = i;
    }
    set_code(token, d, code);
    square += decoded(token, d) * decoded(token, d);
  }
  norms.push_back(float_to_half(static_cast<float>(options.norm / options.norm_scale / std::sqrt(square))));
}

void Corpus::add_raw_token(int64_t token, std::mt19937_64& random) {
  const std::vector<float> vector = unit_vectors(1, options.dim, random);
  for (int64_t d = 0; d < options.dim; ++d) {
    set_value(token, d, float_to_half(vector[d] * options.norm / options.norm_scale));
  }
}

CodecView Corpus::codec() const {
  CodecView view;
  view.dim = options.dim;
  view.nbits = options.nbits;
  view.centroid_count = options.centroid_count;
  view.centroids = centroids.data();
  view.levels = levels.data();
  view.norm_scale = options.norm_scale;
  return view;
}

SegmentView Corpus::segment() const {
  SegmentView view;
  view.documents = static_cast<int64_t>(options.document_lengths.size());
  view.tokens = doc_offsets.back();
  view.doc_offsets = doc_offsets.data();
  view.codes = codes.data();
  view.centroid_ids_16 = options.wide_ids ? nullptr : ids_16.data();
  view.centroid_ids_32 = options.wide_ids ? ids_32.data() : nullptr;
  view.sigmas = sigmas.data();
  view.norms = norms.data();
  for (const uint16_t sigma : sigmas) view.max_sigma = std::max(view.max_sigma, half_to_float(sigma));
  for (const uint16_t norm : norms) view.max_norm = std::max(view.max_norm, half_to_float(norm));
  return view;
}

void Corpus::set_code(int64_t token, int64_t dimension, int code) {
  const int64_t bit = dimension * options.nbits;
  uint8_t& byte = codes[token * codec().code_bytes() + bit / 8];
  const int mask = ((1 << options.nbits) - 1) << bit % 8;
  byte = static_cast<uint8_t>((byte & ~mask) | code << bit % 8);
}

void Corpus::set_value(int64_t token, int64_t dimension, uint16_t half) {
  std::memcpy(&codes[(token * options.dim + dimension) * 2], &half, sizeof half);
}

double Corpus::norm(int64_t token) const {
  const double stored = options.nbits == 16 ? 1.0 : half_to_float(norms[token]);
  return stored * options.norm_scale;
}

double Corpus::decoded(int64_t token, int64_t dimension) const {
  if (options.nbits == 16) {
    uint16_t half;
    std::memcpy(&half, &codes[(token * options.dim + dimension) * 2], sizeof half);
    return half_to_float(half);
  }
  const int64_t bit = dimension * options.nbits;
  const int code = codes[token * codec().code_bytes() + bit / 8] >> bit % 8 & ((1 << options.nbits) - 1);
  const int64_t id = options.wide_ids ? ids_32[token] : ids_16[token];
  return centroids[id * options.dim + dimension] + static_cast<double>(half_to_float(sigmas[token])) * levels[code];
}

Queries::Queries(const Corpus& corpus, const std::vector<int64_t>& lengths, uint64_t seed, float norm) : offsets{0} {
  std::mt19937_64 random(seed);
  for (const int64_t length : lengths) offsets.push_back(offsets.back() + length);
  vectors = unit_vectors(offsets.back(), corpus.options.dim, random);
  for (float& value : vectors) value *= norm;
  score_centroids(corpus);
}

void Queries::score_centroids(const Corpus& corpus) {
  const int64_t dim = corpus.options.dim, tokens = offsets.back();
  centroid_scores.resize(corpus.options.centroid_count * tokens);
  for (int64_t k = 0; k < corpus.options.centroid_count; ++k) {
    for (int64_t q = 0; q < tokens; ++q) {
      const float* centroid = &corpus.centroids[k * dim];
      centroid_scores[k * tokens + q] =
          static_cast<float>(std::inner_product(centroid, centroid + dim, &vectors[q * dim], 0.0));
    }
  }
}

double reference_score(const Corpus& corpus, const Queries& queries, int64_t query, uint32_t document) {
  const int64_t dim = corpus.options.dim, begin = corpus.doc_offsets[document], end = corpus.doc_offsets[document + 1];
  if (begin == end) return -INFINITY;
  std::vector<double> best(queries.offsets[query + 1] - queries.offsets[query], -INFINITY);
  std::vector<double> vector(dim);
  for (int64_t t = begin; t < end; ++t) {
    for (int64_t d = 0; d < dim; ++d) vector[d] = corpus.norm(t) * corpus.decoded(t, d);
    for (size_t q = 0; q < best.size(); ++q) {
      const float* query_vector = &queries.vectors[(queries.offsets[query] + q) * dim];
      best[q] = std::max(best[q], std::inner_product(vector.begin(), vector.end(), query_vector, 0.0));
    }
  }
  return std::accumulate(best.begin(), best.end(), 0.0);
}

}  // namespace jcb::tests
