// Promises of jcb/maxsim_quantized.h, for every build of it that can run here.
#include <algorithm>
#include <cmath>
#include <map>
#include <thread>

#include "tests/check.h"
#include "tests/scoring.h"

namespace jcb::tests {
namespace {

const std::vector<int64_t> kQueryLengths{1, 8, 0, 16, 20, 32, 33, 64, 300};

// Fast within its bound of exact, exact within 1e-4 of double precision, per unit of query and document norm and per 32
// query tokens.
void check_scores(const std::vector<Build>& builds, const Corpus& corpus, const Queries& queries, double unit) {
  std::vector<std::unique_ptr<PreparedQueries>> prepared;
  for (const Build& build : builds) prepared.push_back(prepare(build, corpus, queries));
  const auto dim = static_cast<long long>(corpus.options.dim);
  const int nbits = corpus.options.nbits;
  for (int64_t query = 0; query < prepared[0]->query_count(); ++query) {
    const int64_t tokens = queries.offsets[query + 1] - queries.offsets[query];
    std::vector<double> truths;
    for (const uint32_t document : corpus.all_documents) {
      truths.push_back(reference_score(corpus, queries, query, document));
    }
    for (size_t b = 0; b < builds.size(); ++b) {
      const char* name = builds[b].name.c_str();
      const std::vector<float> fast = score(*prepared[b], corpus, query, true);
      const std::vector<float> exact = score(*prepared[b], corpus, query, false);
      const float bound = bound_of(*prepared[b], corpus, query);
      for (const uint32_t document : corpus.all_documents) {
        const double truth = truths[document];
        if (corpus.doc_offsets[document] == corpus.doc_offsets[document + 1]) {
          JCB_CHECK(fast[document] == -INFINITY && exact[document] == -INFINITY, "%s", name);
          continue;
        }
        const double tolerance = 1e-4 * unit * std::max(1.0, static_cast<double>(tokens) / 32.0);
        JCB_CHECK(std::fabs(exact[document] - truth) <= tolerance,
                  "%s, %lld dims, %d bits, %lld query tokens: %.6f, %.6f", name, dim, nbits,
                  static_cast<long long>(tokens), exact[document], truth);
        JCB_CHECK(std::fabs(fast[document] - exact[document]) <= bound,
                  "%s, %lld dims, %d bits, %lld query tokens: fast %.6f, exact %.6f, bound %.6f", name, dim, nbits,
                  static_cast<long long>(tokens), fast[document], exact[document], bound);
      }
      JCB_CHECK(tokens > 0 || (fast[0] == 0.0f && exact[0] == 0.0f && bound <= 1e-30f), "%s", name);
    }
  }
}

void test_agrees_with_double_precision(const std::vector<Build>& builds) {
  for (const int nbits : {1, 2, 4, 8}) {
    for (const int64_t dim : {1, 16, 48, 64, 96, 100, 128, 384}) {
      CorpusOptions options{.dim = dim, .nbits = nbits, .document_lengths = kDocumentLengths};
      options.wide_ids = dim % 3 == 0;
      options.seed = static_cast<uint64_t>(dim) * 10 + nbits;
      const Corpus corpus(options);
      const Queries queries(corpus, kQueryLengths, options.seed + 1);
      check_scores(builds, corpus, queries, 1.0);
    }
  }
}

void test_any_level_table_and_scale(const std::vector<Build>& builds) {
  const std::vector<std::vector<float>> tables{{0.0f, 0.0f, 0.0f, 0.0f},         {-3.0f, -0.1f, 0.2f, 0.9f},
                                               {5.0f, 6.0f, 7.0f, 9.5f},         {-1e-6f, 0.0f, 0.0f, 1e-6f},
                                               {2.0f, 2.0f, 2.0f, 2.0f},         {0.3f, -0.7f, 1.1f, -0.2f}};
  for (const auto& levels : tables) {
    for (const float norm : {1.0f, 37.0f, 0.001f}) {
      CorpusOptions options{.dim = 52, .nbits = 2, .document_lengths = kDocumentLengths, .levels = levels};
      options.norm = norm;
      options.norm_scale = norm > 1.0f ? 64.0f : 1.0f;
      const Corpus corpus(options);
      const Queries queries(corpus, {20, 5}, 5, 3.0f);
      check_scores(builds, corpus, queries, 3.0 * norm + 0.01);
    }
  }
}

// Dimensions, tables, norms, sigmas and query lengths at random: what nobody thought of.
void test_random_corpora(const std::vector<Build>& builds) {
  std::mt19937_64 random(11);
  const auto between = [&](double low, double high) {
    return static_cast<float>(std::uniform_real_distribution<double>(low, high)(random));
  };
  for (int i = 0; i < 60; ++i) {
    CorpusOptions options{.dim = static_cast<int64_t>(1 + random() % 300), .nbits = 1 << random() % 4,
                          .document_lengths = {9, 1, 70}};
    const float spread = std::pow(10.0f, between(-2, 1)), shift = i % 3 == 0 ? between(-3, 3) : 0.0f;
    for (int level = 0; level < 1 << options.nbits; ++level) options.levels.push_back(between(-1, 1) * spread + shift);
    if (i % 2 == 0) std::sort(options.levels.begin(), options.levels.end());
    options.sigma = std::pow(10.0f, between(-3, 0.3));
    options.norm = std::pow(10.0f, between(-2, 2));
    options.seed = random();
    const Corpus corpus(options);
    const float query_norm = std::pow(10.0f, between(-2, 2));
    const Queries queries(corpus, {static_cast<int64_t>(1 + random() % 70), static_cast<int64_t>(1 + random() % 16)},
                          random(), query_norm);
    check_scores(builds, corpus, queries, options.norm * query_norm);
  }
}

void test_queries_of_very_different_norms(const std::vector<Build>& builds) {
  for (const int nbits : {1, 2, 4, 8}) {
    const Corpus corpus({.dim = 64, .nbits = nbits, .document_lengths = kDocumentLengths});
    Queries queries(corpus, {32, 12}, 9);
    for (int64_t q = 0; q < queries.offsets.back(); ++q) {  // every third of zero norm, others over ten decades
      const float factor = q % 3 == 0 ? 0.0f : std::pow(10.0f, static_cast<float>(q % 11) - 9.0f);
      for (int d = 0; d < 64; ++d) queries.vectors[q * 64 + d] *= factor;
    }
    queries.score_centroids(corpus);
    check_scores(builds, corpus, queries, 10.0);
  }
}

// Integers until the last sum: rows give the same bits in every build, and so do products of weights of 8 bits.
// Emulation changes nothing at all.
void test_same_bits_everywhere(const std::vector<Build>& builds) {
  for (const int nbits : {1, 2, 4, 8}) {
    for (const int64_t dim : {48, 128}) {
      const Corpus corpus({.dim = dim, .nbits = nbits, .document_lengths = kDocumentLengths});
      const Queries queries(corpus, {20, 9, 40}, 4);
      std::map<std::string, std::vector<float>> fast, exact;
      for (const Build& build : builds) {
        const auto prepared = prepare(build, corpus, queries);
        for (const int64_t query : {0, 1, 2}) {
          const auto fast_scores = score(*prepared, corpus, query, true);
          const auto exact_scores = score(*prepared, corpus, query, false);
          JCB_CHECK(same_bits(fast_scores, score(*prepared, corpus, query, true)), "%s", build.name.c_str());
          fast[build.name].insert(fast[build.name].end(), fast_scores.begin(), fast_scores.end());
          exact[build.name].insert(exact[build.name].end(), exact_scores.begin(), exact_scores.end());
        }
      }
      const auto agree = [&](const std::string& one, const std::string& other) {
        if (!fast.contains(one) || !fast.contains(other)) return;
        JCB_CHECK(same_bits(fast[one], fast[other]), "%s, %s, %d bits", one.c_str(), other.c_str(), nbits);
      };
      for (const std::string name : {"avx2", "avx2 over SIMDe", "neon", "neon over SIMDe"}) {
        if (nbits <= 2) agree(name, "scalar");  // which answers in fp32 at 4 and 8 bits
      }
      if (nbits > 2) agree("neon over SIMDe", "avx512 over SIMDe");
      if (nbits > 1) agree("amx over SIMDe", "avx512 over SIMDe");  // which looks up rows at 1 bit
      for (const std::string name : {"avx2", "avx512", "amx", "neon"}) {
        if (!fast.contains(name) || !fast.contains(name + " over SIMDe")) continue;
        JCB_CHECK(same_bits(fast[name], fast[name + " over SIMDe"]), "%s %d bits", name.c_str(), nbits);
        JCB_CHECK(same_bits(exact[name], exact[name + " over SIMDe"]), "%s %d bits", name.c_str(), nbits);
      }
    }
  }
}

void test_same_bits_from_many_threads(const std::vector<Build>& builds) {
  const Corpus corpus({.document_lengths = kDocumentLengths});
  const Queries queries(corpus, {20, 20, 9}, 4);
  for (const Build& build : builds) {
    const auto alone = prepare(build, corpus, queries), shared = prepare(build, corpus, queries);
    std::vector<std::vector<float>> results(8);
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&, i] { results[i] = score(*shared, corpus, i % 3, i % 2 == 0); });
    }
    for (std::thread& thread : threads) thread.join();
    for (int i = 0; i < 8; ++i) {
      JCB_CHECK(same_bits(results[i], score(*alone, corpus, i % 3, i % 2 == 0)), "%s", build.name.c_str());
    }
  }
}

void test_zero_norms_and_residuals(const std::vector<Build>& builds) {
  for (const int nbits : {1, 2, 4, 8}) {
    Corpus corpus({.nbits = nbits, .document_lengths = kDocumentLengths});
    for (size_t t = 0; t < corpus.norms.size(); t += 2) corpus.norms[t] = 0;
    for (size_t t = 0; t < corpus.sigmas.size(); t += 3) corpus.sigmas[t] = 0;
    const Queries queries(corpus, {20, 9}, 4);
    check_scores(builds, corpus, queries, 2.0);
    for (const Build& build : builds) {
      const auto prepared = prepare(build, corpus, queries);
      const float alone = score(*prepared, corpus, 0, true)[0];  // document 0 is one token, of norm zero
      JCB_CHECK(alone == 0.0f, "%s: %f", build.name.c_str(), alone);
    }
    std::fill(corpus.norms.begin(), corpus.norms.end(), 0);
    check_scores(builds, corpus, queries, 1e-3);
  }
}

void test_largest_sizes(const std::vector<Build>& builds) {
  for (const int nbits : {1, 2, 4, 8}) {
    const Corpus corpus({.dim = 4096, .nbits = nbits, .centroid_count = 4, .document_lengths = {2, 1}});
    const Queries queries(corpus, {20, 3}, 4);
    check_scores(builds, corpus, queries, 1.0);
  }
  const Corpus corpus({.dim = 8, .document_lengths = {2, 1}});
  const Queries queries(corpus, {1024}, 4);
  check_scores(builds, corpus, queries, 3.0);
}

}  // namespace
}  // namespace jcb::tests

int main() {
  using namespace jcb::tests;
  const std::vector<Build> builds = available_builds(stdout);
  test_agrees_with_double_precision(builds);
  test_any_level_table_and_scale(builds);
  test_random_corpora(builds);
  test_queries_of_very_different_norms(builds);
  test_same_bits_everywhere(builds);
  test_same_bits_from_many_threads(builds);
  test_zero_norms_and_residuals(builds);
  test_largest_sizes(builds);
  return report("maxsim_quantized");
}
