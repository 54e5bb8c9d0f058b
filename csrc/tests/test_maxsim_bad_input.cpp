// What maxsim_quantized does with damaged files and arguments out of range.
#include <cmath>
#include <limits>
#include <stdexcept>

#include "jcb/half.h"
#include "tests/check.h"
#include "tests/scoring.h"

namespace jcb::tests {
namespace {

void test_scalars_above_the_largest_are_clamped(const std::vector<Build>& builds) {
  Corpus corpus({.document_lengths = {30}});
  SegmentView segment = corpus.segment();
  const Queries queries(corpus, {20}, 4);
  for (const Build& build : builds) {
    const auto prepared = prepare(build, corpus, queries);
    Corpus damaged = corpus;
    damaged.norms[3] = 0x7bff;   // 65504
    damaged.sigmas[5] = 0x7c00;  // infinity
    damaged.norms[6] = 0xbc00;   // -1
    segment.norms = damaged.norms.data();
    segment.sigmas = damaged.sigmas.data();
    const uint32_t document = 0;
    float fast = NAN, exact = NAN;
    prepared->score_fast(segment, 0, &document, 1, &fast);
    prepared->score_exact(segment, 0, &document, 1, &exact);
    JCB_CHECK(std::fabs(fast - exact) <= prepared->error_bound(0, segment.max_sigma, segment.max_norm), "%s: %f %f",
              build.name.c_str(), fast, exact);
    damaged.norms[7] = damaged.sigmas[8] = 0x7e00;  // NaN: any score, but no reading elsewhere
    prepared->score_fast(segment, 0, &document, 1, &fast);
    prepared->score_exact(segment, 0, &document, 1, &exact);
  }
}

void test_damaged_numbers_are_refused(const std::vector<Build>& builds) {
  for (const bool wide : {false, true}) {
    const Corpus sound({.document_lengths = {5, 70, 5}, .wide_ids = wide});
    const Queries queries(sound, {20, 9}, 4);
    for (const Build& build : builds) {
      const auto prepared = prepare(build, sound, queries);
      const auto refused = [&](const SegmentView& segment, uint32_t document) {
        float result = 0.0f;
        return throws<CorruptIndex>([&] { prepared->score_fast(segment, 0, &document, 1, &result); }) &&
               throws<CorruptIndex>([&] { prepared->score_fast(segment, 1, &document, 1, &result); }) &&
               throws<CorruptIndex>([&] { prepared->score_exact(segment, 0, &document, 1, &result); });
      };
      JCB_CHECK(refused(sound.segment(), 3), "%s", build.name.c_str());
      for (const int64_t offset : {int64_t{-1}, int64_t{81}, std::numeric_limits<int64_t>::min(),
                                   std::numeric_limits<int64_t>::max()}) {
        Corpus damaged = sound;
        damaged.doc_offsets[1] = offset;
        JCB_CHECK(refused([&] { SegmentView view = damaged.segment(); view.tokens = 80; return view; }(), 0),
                  "%s: %lld", build.name.c_str(), static_cast<long long>(offset));
      }
      Corpus damaged = sound;
      (wide ? damaged.ids_32[70] : reinterpret_cast<uint32_t&>(damaged.ids_32.emplace_back())) = 64;
      if (!wide) damaged.ids_16[70] = 64;
      JCB_CHECK(refused(damaged.segment(), 1), "%s", build.name.c_str());
    }
  }
}

void test_arguments_out_of_range_are_refused(const std::vector<Build>& builds) {
  const Corpus corpus({.document_lengths = {5}});
  const std::vector<float> vectors(2000 * 128);
  const int64_t offsets[2] = {0, 1025};
  for (const Build& build : builds) {
    const auto refused = [&](const CodecView& codec, int64_t tokens) {
      const int64_t query_offsets[2] = {0, tokens};
      return throws<std::invalid_argument>(
          [&] { prepare_queries(*build.kernels, codec, vectors.data(), query_offsets, 1, {vectors.data()}); });
    };
    CodecView codec = corpus.codec();
    JCB_CHECK(refused(codec, offsets[1]), "%s", build.name.c_str());
    codec.nbits = 16;
    JCB_CHECK(refused(codec, 1), "%s", build.name.c_str());
    codec.nbits = 2, codec.dim = 5000;
    JCB_CHECK(refused(codec, 1), "%s", build.name.c_str());
  }
}

void test_numbers_that_are_not_finite_are_refused(const std::vector<Build>& builds) {
  for (const int nbits : {2, 4}) {
    const Corpus corpus({.nbits = nbits, .document_lengths = {5}});
    const Queries sound(corpus, {20}, 4);
    for (const Build& build : builds) {
      for (const float bad : {NAN, INFINITY}) {
        Queries queries = sound;
        queries.vectors[5 * 128 + 7] = bad;
        const auto prepared = prepare(build, corpus, queries);
        for (const bool fast : {false, true}) {
          const bool refused = throws<std::invalid_argument>([&] { score(*prepared, corpus, 0, fast); });
          JCB_CHECK(refused, "%s", build.name.c_str());
        }
        Corpus damaged = corpus;
        damaged.levels[1] = bad;
        JCB_CHECK(throws<CorruptIndex>([&] { prepare(build, damaged, sound); }), "%s", build.name.c_str());
      }
      Queries queries = sound;  // of damaged centroids: any score, but an end and no reading elsewhere
      queries.centroid_scores[3] = NAN;
      queries.centroid_scores[30] = INFINITY;
      const auto prepared = prepare(build, corpus, queries);
      score(*prepared, corpus, 0, true);
      bound_of(*prepared, corpus, 0);
    }
  }
}

}  // namespace
}  // namespace jcb::tests

int main() {
  using namespace jcb::tests;
  const std::vector<Build> builds = available_builds(stdout);
  test_scalars_above_the_largest_are_clamped(builds);
  test_damaged_numbers_are_refused(builds);
  test_arguments_out_of_range_are_refused(builds);
  test_numbers_that_are_not_finite_are_refused(builds);
  return report("maxsim_bad_input");
}
