// Centroid scores in small integers (cpu/word_table.h), for every build that has them: near the products in double
// precision, the best of them found, and fast MaxSim by them near that by fp32 scores.
#include "cpu/word_table.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "tests/check.h"
#include "tests/scoring.h"

namespace jcb::tests {
namespace {

using maxsim::ByteCentroids;
using maxsim::WordTable;

const std::vector<int64_t> kQueryLengths{3, 0, 16, 33, 32, 5};

double product(const Corpus& corpus, const Queries& queries, int64_t centroid, int64_t token) {
  double sum = 0.0;
  for (int64_t d = 0; d < corpus.options.dim; ++d) {
    sum += static_cast<double>(corpus.centroids[centroid * corpus.options.dim + d]) *
           queries.vectors[token * corpus.options.dim + d];
  }
  return sum;
}

// The bound of word_table.h, for one query token and any centroid. s: of its i8 values.
double error_bound(const Corpus& corpus, const Queries& queries, const ByteCentroids& centroids, int64_t token,
                   double s, double step) {
  double bound = 0.51 * step + s * centroids.lattice().unit * static_cast<double>(centroids.positions() / 32 + 1);
  double largest = 0.0;
  for (const float value : corpus.centroids) largest = std::max(largest, std::fabs(static_cast<double>(value)));
  for (int64_t d = 0; d < corpus.options.dim; ++d) {
    const double value = std::fabs(queries.vectors[token * corpus.options.dim + d]);
    bound += s / 2 * largest + (value + s / 2) * centroids.lattice().unit * 0.501;
  }
  return bound;
}

void test_scores_are_near_the_products(const Build& build, const ThreadPool& pool) {
  for (const int64_t dim : {1, 16, 50, 64, 128, 384}) {
    for (const int64_t count : {1, 5, 64, 1500}) {
      const Corpus corpus({.dim = dim, .centroid_count = count, .document_lengths = {3}});
      const Queries queries(corpus, kQueryLengths, 7 + dim);
      const ByteCentroids centroids(*build.kernels, corpus.codec(), pool);
      const int64_t tokens = queries.offsets.back();
      const WordTable table(centroids, queries.vectors.data(), tokens, pool);
      JCB_CHECK(table.stride() % 16 == 0 && table.stride() >= tokens && table.stride() < tokens + 32, "%s",
                build.name.c_str());
      for (int64_t t = 0; t < tokens; ++t) {
        // A word is 2^shift steps of the i8 values: with one bit to spare it would have been shifted less.
        const double s = table.step(t) / centroids.lattice().unit;
        const double bound = error_bound(corpus, queries, centroids, t, s, table.step(t));
        double worst = 0.0;
        for (int64_t k = 0; k < count; ++k) {
          worst = std::max(worst, std::fabs(table.step(t) * table.row(k)[t] - product(corpus, queries, k, t)));
        }
        JCB_CHECK(worst <= bound, "%s, %lld dims: off by %f, bound %f", build.name.c_str(),
                  static_cast<long long>(dim), worst, bound);
        if (dim == 128) {  // and no bound says how good it usually is: .001 with 255 weights, .003 with 96
          JCB_CHECK(worst <= 0.02, "%s: off by %f", build.name.c_str(), worst);
        }
      }
    }
  }
}

void test_the_best_are_found(const Build& build, const ThreadPool& pool) {
  const Corpus corpus({.dim = 32, .centroid_count = 1500, .document_lengths = {3}});
  const Queries queries(corpus, kQueryLengths, 3);
  const ByteCentroids centroids(*build.kernels, corpus.codec(), pool);
  const int64_t tokens = queries.offsets.back(), rows = 1500;
  const WordTable table(centroids, queries.vectors.data(), tokens, pool);
  for (const int64_t count : {1, 17, 47, 48, 1500}) {  // 47 blocks of 32 rows
    std::vector<int64_t> ids(tokens * count), order(rows);
    std::vector<float> scores(tokens * count);
    table.best(pool, count, ids.data(), scores.data());
    bool same = true;
    for (int64_t t = 0; t < tokens; ++t) {
      std::iota(order.begin(), order.end(), int64_t{0});
      std::stable_sort(order.begin(), order.end(),
                       [&](int64_t a, int64_t b) { return table.row(a)[t] > table.row(b)[t]; });
      for (int64_t i = 0; i < count; ++i) {
        same = same && ids[t * count + i] == order[i] &&
               scores[t * count + i] == table.step(t) * static_cast<float>(table.row(order[i])[t]);
      }
    }
    JCB_CHECK(same, "%s: the best %lld", build.name.c_str(), static_cast<long long>(count));
  }
}

// Taken as they are where steps agree, converted where they do not: the latter at 1 and 2 bits by rows, and for queries
// of which some tokens are far shorter than others.
void test_fast_scores_by_words(const Build& build, const ThreadPool& pool) {
  for (const int nbits : {1, 2, 4, 8}) {
    for (const int64_t dim : {48, 128}) {
      const Corpus corpus({.dim = dim, .nbits = nbits, .document_lengths = kDocumentLengths});
      Queries queries(corpus, kQueryLengths, 11);
      for (int64_t t = 0; t < queries.offsets.back(); t += 7) {
        for (int64_t d = 0; d < dim; ++d) queries.vectors[t * dim + d] *= t % 2 == 0 ? 0.01f : 0.0f;
      }
      queries.score_centroids(corpus);
      const ByteCentroids centroids(*build.kernels, corpus.codec(), pool);
      const int64_t tokens = queries.offsets.back(), count = static_cast<int64_t>(kQueryLengths.size());
      const WordTable table(centroids, queries.vectors.data(), tokens, pool);
      const auto by_floats = prepare(build, corpus, queries);
      const auto by_words = prepare_queries(*build.kernels, corpus.codec(), queries.vectors.data(),
                                            queries.offsets.data(), count, {.words = &table});
      for (int64_t query = 0; query < count; ++query) {
        const std::vector<float> fast = score(*by_words, corpus, query, true);
        const float bound = bound_of(*by_floats, corpus, query);
        const double of_table = 0.02 * static_cast<double>(kQueryLengths[query]);
        for (const uint32_t document : corpus.all_documents) {
          if (corpus.doc_offsets[document] == corpus.doc_offsets[document + 1]) {
            JCB_CHECK(fast[document] == -INFINITY, "%s", build.name.c_str());
            continue;
          }
          const double truth = reference_score(corpus, queries, query, document);
          JCB_CHECK(std::fabs(fast[document] - truth) <= 2 * bound + of_table, "%s, %d bits: %f, %f, bound %f",
                    build.name.c_str(), nbits, fast[document], truth, bound);
        }
        JCB_CHECK(same_bits(score(*by_words, corpus, query, false), score(*by_floats, corpus, query, false)), "%s",
                  build.name.c_str());
        JCB_CHECK(throws<std::logic_error>([&] { bound_of(*by_words, corpus, query); }), "%s", build.name.c_str());
      }
    }
  }
}

void test_bad_input(const Build& build, const ThreadPool& pool) {
  Corpus corpus({.dim = 16, .document_lengths = {3}});
  corpus.centroids[5 * 16 + 3] = NAN;
  corpus.centroids[6 * 16 + 3] = INFINITY;
  Queries queries(corpus, {4}, 2);
  const ByteCentroids centroids(*build.kernels, corpus.codec(), pool);
  JCB_CHECK(std::isfinite(centroids.longest()), "%s", build.name.c_str());
  const WordTable table(centroids, queries.vectors.data(), 4, pool);
  JCB_CHECK(std::fabs(table.step(1) * table.row(4)[1] - product(corpus, queries, 4, 1)) < 0.02, "%s",
            build.name.c_str());
  queries.vectors[20] = NAN;
  JCB_CHECK(throws<std::invalid_argument>([&] { WordTable(centroids, queries.vectors.data(), 4, pool); }), "%s",
            build.name.c_str());
}

}  // namespace
}  // namespace jcb::tests

int main() {
  using namespace jcb::tests;
  const jcb::ThreadPool pool(2);
  for (const Build& build : available_builds(stdout)) {
    if (build.kernels->words.rows_at_once == 0) continue;
    test_scores_are_near_the_products(build, pool);
    test_the_best_are_found(build, pool);
    test_fast_scores_by_words(build, pool);
    test_bad_input(build, pool);
  }
  return report("word_table");
}
