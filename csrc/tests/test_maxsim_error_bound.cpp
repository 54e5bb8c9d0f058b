// The error bound of maxsim_quantized holds for the worst codes that a search can find.
#include <algorithm>
#include <cmath>
#include <random>
#include <stdexcept>

#include "jcb/half.h"
#include "tests/check.h"
#include "tests/scoring.h"

namespace jcb::tests {
namespace {

// Coordinate ascent on the codes of a one-token document, for a query of one vector many times over: it reaches the
// worst case of all query tokens at once. Prints bound over largest error.
void test_bound_holds_for_adversarial_codes(const std::vector<Build>& builds) {
  for (const Build& build : builds) {
    for (const int nbits : {1, 2, 4, 8}) {
      for (const int64_t query_tokens : {16, 32}) {
        for (const int64_t dim : {100, 128}) {
          double bound = 0.0, largest = 0.0;
          for (const int sign : {-1, 1}) {
            const int variants = 16;
            const std::vector<int64_t> one_each(variants, 1);
            Corpus corpus({.dim = dim, .nbits = nbits, .centroid_count = 4, .document_lengths = one_each});
            std::fill(corpus.sigmas.begin(), corpus.sigmas.end(), float_to_half(0.04f));
            std::fill(corpus.norms.begin(), corpus.norms.end(), float_to_half(1.0f));
            std::fill(corpus.ids_16.begin(), corpus.ids_16.end(), 0);
            Queries queries(corpus, {query_tokens}, 77 + static_cast<uint64_t>(sign));
            for (int64_t q = 1; q < query_tokens; ++q) {
              std::copy_n(queries.vectors.begin(), dim, queries.vectors.begin() + q * dim);
            }
            queries.score_centroids(corpus);
            const auto prepared = prepare(build, corpus, queries);
            bound = std::max(bound, static_cast<double>(bound_of(*prepared, corpus, 0)));
            const int64_t bytes = corpus.codec().code_bytes();
            std::vector<uint8_t> code(corpus.codes.begin(), corpus.codes.begin() + bytes);
            std::mt19937 random(3);
            for (int sweep = 0; sweep < 2; ++sweep) {
              for (int64_t nibble = 0; nibble < (nbits == 8 ? bytes : 2 * bytes); ++nibble) {
                for (int v = 0; v < variants; ++v) {
                  std::copy(code.begin(), code.end(), corpus.codes.begin() + v * bytes);
                  uint8_t& byte = corpus.codes[v * bytes + (nbits == 8 ? nibble : nibble / 2)];
                  if (nbits < 8) byte = static_cast<uint8_t>(nibble % 2 ? (byte & 15) | v << 4 : (byte & 0xf0) | v);
                  if (nbits == 8 && v > 0) byte = static_cast<uint8_t>(v == 1 ? 0 : v == 2 ? 255 : random());
                }
                const auto fast = score(*prepared, corpus, 0, true), exact = score(*prepared, corpus, 0, false);
                int best = 0;
                for (int v = 0; v < variants; ++v) {
                  if (sign * (fast[v] - exact[v]) > sign * (fast[best] - exact[best])) best = v;
                  largest = std::max(largest, std::fabs(static_cast<double>(fast[v]) - exact[v]));
                }
                code.assign(corpus.codes.begin() + best * bytes, corpus.codes.begin() + (best + 1) * bytes);
              }
            }
          }
          JCB_CHECK(largest <= bound, "%s %d bits: %.6f above %.6f", build.name.c_str(), nbits, largest, bound);
          if (dim == 128 && bound > 0.0) {  // 0 where fast is exact
            std::printf("%-18s %d bits, %2lld query tokens: bound %.4f, largest error found %.4f, ratio %.2f\n",
                        build.name.c_str(), nbits, static_cast<long long>(query_tokens), bound, largest,
                        bound / largest);
          }
        }
      }
    }
  }
}

// Where the products of levels cancel and their roundings do not: large levels, all the same, beside short centroids.
void test_bound_holds_where_levels_cancel(const std::vector<Build>& builds) {
  for (const int nbits : {1, 2, 4}) {
    for (const float level : {1.0f, 10.0f, 1000.0f}) {
      const std::vector<float> levels(1 << nbits, level);
      Corpus corpus({.nbits = nbits, .centroid_count = 8, .document_lengths = {40}, .levels = levels, .sigma = 1.0f});
      for (float& value : corpus.centroids) value *= 0.01f;
      Queries queries(corpus, {20, 5}, 3);
      for (size_t i = 0; i < queries.vectors.size(); ++i) queries.vectors[i] = (i % 2 == 0 ? 1.0f : -1.0f) / 11.3137f;
      queries.score_centroids(corpus);
      for (const Build& build : builds) {
        const auto prepared = prepare(build, corpus, queries);
        for (const int64_t query : {0, 1}) {
          const float fast = score(*prepared, corpus, query, true)[0], exact = score(*prepared, corpus, query, false)[0];
          JCB_CHECK(std::fabs(fast - exact) <= bound_of(*prepared, corpus, query), "%s, %d bits of %f: %g, bound %g",
                    build.name.c_str(), nbits, level, std::fabs(fast - exact), bound_of(*prepared, corpus, query));
        }
      }
    }
  }
}

void test_bound_holds_without_centroid_scores(const std::vector<Build>& builds) {
  const Corpus corpus({.document_lengths = kDocumentLengths});
  const Queries queries(corpus, {20, 7}, 3);
  for (const Build& build : builds) {
    const auto with = prepare(build, corpus, queries);
    const auto without = prepare_queries(*build.kernels, corpus.codec(), queries.vectors.data(), queries.offsets.data(), 2, {});
    for (const int64_t query : {0, 1}) {
      const float bound = bound_of(*with, corpus, query), other = bound_of(*without, corpus, query);
      JCB_CHECK(other >= bound && other <= 2 * bound, "%s: %f, %f", build.name.c_str(), other, bound);
    }
    JCB_CHECK(throws<std::logic_error>([&] { score(*without, corpus, 0, true); }), "%s", build.name.c_str());
  }
}

}  // namespace
}  // namespace jcb::tests

int main() {
  using namespace jcb::tests;
  const std::vector<Build> builds = available_builds(stdout);
  test_bound_holds_for_adversarial_codes(builds);
  test_bound_holds_where_levels_cancel(builds);
  test_bound_holds_without_centroid_scores(builds);
  return report("maxsim_error_bound");
}
