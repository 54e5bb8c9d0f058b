// Scores of a whole corpus by one build of maxsim_quantized.
#pragma once
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "jcb/maxsim_quantized.h"
#include "tests/corpus.h"
#include "tests/instruction_sets.h"

namespace jcb::tests {

inline const std::vector<int64_t> kDocumentLengths{1, 0, 7, 64, 3, 130, 0, 1};

inline std::unique_ptr<PreparedQueries> prepare(const Build& build, const Corpus& corpus, const Queries& queries) {
  return prepare_queries(*build.kernels, corpus.codec(), queries.vectors.data(), queries.offsets.data(),
                         static_cast<int64_t>(queries.offsets.size()) - 1, {queries.centroid_scores.data()});
}

inline std::vector<float> score(const PreparedQueries& prepared, const Corpus& corpus, int64_t query, bool fast) {
  std::vector<float> scores(corpus.all_documents.size(), NAN);
  const auto call = fast ? &PreparedQueries::score_fast : &PreparedQueries::score_exact;
  (prepared.*call)(corpus.segment(), query, corpus.all_documents.data(), static_cast<int64_t>(scores.size()),
                   scores.data());
  return scores;
}

inline bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

inline float bound_of(const PreparedQueries& prepared, const Corpus& corpus, int64_t query) {
  const SegmentView segment = corpus.segment();
  return prepared.error_bound(query, segment.max_sigma, segment.max_norm);
}

}  // namespace jcb::tests
