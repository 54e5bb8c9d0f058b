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
using maxsim::Lattice;
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

// The step of the i8 values of a query token: dot_query.cpp, in its own words.
double step_of_bytes(const Build& build, const Corpus& corpus, const Lattice& lattice, const float* query) {
  const int64_t dim = corpus.options.dim;
  double largest = 0.0, widest = 0.0;
  for (int64_t first = 0; first < dim; first += 32) {  // pairs 0, 2, 4.. and 1, 3, 5.. of a chain are summed apart
    double halves[2] = {};
    for (int64_t d = first; d < std::min(dim, first + 32); ++d) {
      largest = std::max(largest, std::fabs(static_cast<double>(query[d])));
      halves[d / 2 % 2] += std::fabs(static_cast<double>(query[d]));
    }
    widest = std::max({widest, halves[0], halves[1]});
  }
  const double s = largest / 127.0;
  if (!build.kernels->dot.chained) return s;
  return std::max(s, widest * lattice.largest_weight / (32765.0 - 8.0 * lattice.largest_weight));
}

// The bound of word_table.h, for one query token and any centroid.
double error_bound(const Corpus& corpus, const ByteCentroids& centroids, const float* query, double s, double step) {
  const double unit = centroids.lattice().unit;
  double bound = 0.501 * step + s * unit * static_cast<double>(centroids.positions() / 32);
  double largest = 0.0;
  for (const float value : corpus.centroids) largest = std::max(largest, std::fabs(static_cast<double>(value)));
  for (int64_t d = 0; d < corpus.options.dim; ++d) {
    bound += 0.501 * s * largest + (std::fabs(static_cast<double>(query[d])) + s / 2) * unit * 0.501;
  }
  return bound;
}

void test_scores_are_near_the_products(const Build& build, const ThreadPool& pool) {
  for (const int64_t dim : {1, 16, 50, 64, 128, 384, 4096}) {
    for (const int64_t count : {1, 5, 64, 1500}) {
      if (dim * count > 1 << 20) continue;
      const Corpus corpus({.dim = dim, .centroid_count = count, .document_lengths = {3}});
      const Queries queries(corpus, kQueryLengths, 7 + dim);
      const ByteCentroids centroids(*build.kernels, corpus.codec(), pool);
      const int64_t tokens = queries.offsets.back();
      const WordTable table(centroids, queries.vectors.data(), tokens, pool);
      JCB_CHECK(table.stride() % 16 == 0 && table.stride() >= tokens && table.stride() < tokens + 32, "%s",
                build.name.c_str());
      double sum = 0.0;
      for (int64_t t = 0; t < tokens; ++t) {
        const float* query = queries.vectors.data() + t * dim;
        const double s = step_of_bytes(build, corpus, centroids.lattice(), query);
        const double bound = error_bound(corpus, centroids, query, s, table.step(t));
        double worst = 0.0;
        for (int64_t k = 0; k < count; ++k) {
          const double error = std::fabs(table.step(t) * table.row(k)[t] - product(corpus, queries, k, t));
          worst = std::max(worst, error);
          sum += error * error;
        }
        JCB_CHECK(worst <= bound, "%s, %lld dims: off by %f, bound %f", build.name.c_str(),
                  static_cast<long long>(dim), worst, bound);
      }
      // And usually far less than the bound: errors of dimensions add up as their squares.
      const double usual = std::sqrt(sum / static_cast<double>(tokens * count));
      JCB_CHECK(usual <= (build.kernels->dot.chained ? 0.006 : 0.003), "%s, %lld dims: usually off by %f",
                build.name.c_str(), static_cast<long long>(dim), usual);
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

void test_centroids_of_zeros(const Build& build, const ThreadPool& pool) {
  Corpus corpus({.dim = 40, .document_lengths = {3}});
  std::fill(corpus.centroids.begin(), corpus.centroids.end(), 0.0f);
  const Queries queries(corpus, {20}, 2);
  const ByteCentroids centroids(*build.kernels, corpus.codec(), pool);
  const WordTable table(centroids, queries.vectors.data(), 20, pool);
  bool zero = true;
  for (int64_t t = 0; t < 20; ++t) {
    for (int64_t k = 0; k < table.rows(); ++k) zero = zero && table.step(t) * table.row(k)[t] == 0.0f;
  }
  JCB_CHECK(zero, "%s", build.name.c_str());
}

// Sums of bytes are exact: the emulated sets are proof for the native ones.
void test_emulated_sets_give_the_same_words(const std::vector<Build>& builds, const ThreadPool& pool) {
  const Corpus corpus({.dim = 100, .centroid_count = 90, .document_lengths = {3}});
  const Queries queries(corpus, kQueryLengths, 5);
  const int64_t tokens = queries.offsets.back();
  for (const Build& native : builds) {
    for (const Build& other : builds) {
      if (other.name != native.name + " over SIMDe" || native.kernels->words.rows_at_once == 0) continue;
      const ByteCentroids a(*native.kernels, corpus.codec(), pool), b(*other.kernels, corpus.codec(), pool);
      const WordTable first(a, queries.vectors.data(), tokens, pool), second(b, queries.vectors.data(), tokens, pool);
      bool same = first.stride() == second.stride();
      for (int64_t k = 0; k < first.rows() && same; ++k) {
        same = std::equal(first.row(k), first.row(k) + tokens, second.row(k));
      }
      JCB_CHECK(same, "%s", native.name.c_str());
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
    test_centroids_of_zeros(build, pool);
    test_bad_input(build, pool);
  }
  test_emulated_sets_give_the_same_words(available_builds(stderr), pool);
  return report("word_table");
}
