// Speed of maxsim_quantized, one thread: prints JSON. Beside every kernel stand two marks that bound it: products of u8
// and i8 out of registers (what an int8 kernel could reach at best), and the fp32 loop. All variants take turns in
// every round, so that a busy neighbour meets them alike; the figures are medians and best values over rounds.
//
//   bench_maxsim [rounds [part of "set form nbits query_tokens", such as "avx2 fast 2"]]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "jcb/instruction_set.h"
#include "jcb/maxsim_quantized.h"
#include "tests/corpus.h"
#include "tests/instruction_sets.h"

#if defined(__AVX2__)
#include <immintrin.h>
#if defined(JCB_HAVE_AMX)
#include "cpu/tile_unit.h"
#endif
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif

namespace jcb::tests {
namespace {

constexpr int64_t kDim = 128;
constexpr int64_t kCentroids = 8192;

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Seconds per cycle, by operations that wait for each other: multiplications, three cycles each on every x86 processor
// of the last ten years (additions of a constant no longer wait, on some).
double cycle_time() {
#if defined(__x86_64__)
  constexpr double kCycles = 3.0;
#else
  constexpr double kCycles = 1.0;
#endif
  double best = 1.0;
  for (int repeat = 0; repeat < 2; ++repeat) {
    uint64_t value = 1;
    const double start = seconds();
    for (int i = 0; i < 1000; ++i) {
#pragma GCC unroll 16
      for (int j = 0; j < 16; ++j) {
#if defined(__x86_64__)
        __asm__ volatile("imul %0, %0" : "+r"(value));
#else
        __asm__ volatile("" : "+r"(value));
        value += 1;
#endif
      }
    }
    best = std::min(best, (seconds() - start) / (16000.0 * kCycles));
  }
  return best;
}

struct Variant {
  std::string set, form;
  int nbits;
  int64_t query_tokens;
  double tokens;  // of documents, per run
  double error_bound;
  std::function<void()> run;
  std::vector<double> cycles = {}, rates = {};
};

#if defined(__AVX2__)
// The sums are operands of one asm: a compiler left to itself kept arrays of them on the stack.
#define JCB_TWELVE_SUMS(constraint, s) \
  constraint(s[0]), constraint(s[1]), constraint(s[2]), constraint(s[3]), constraint(s[4]), constraint(s[5]), \
      constraint(s[6]), constraint(s[7]), constraint(s[8]), constraint(s[9]), constraint(s[10]), constraint(s[11])

// vpmaddubsw and vpaddw from registers: 32 products each pair.
void multiply_in_registers(int64_t products) {
  __m256i s[12] = {}, product;
  const __m256i weights = _mm256_set1_epi8(3), query = _mm256_set1_epi8(5);
#define JCB_PAIR(n) "vpmaddubsw %14, %13, %12\n\tvpaddw %12, %" #n ", %" #n "\n\t"
  for (int64_t done = 0; done < products; done += 12 * 32) {
    __asm__ volatile(JCB_PAIR(0) JCB_PAIR(1) JCB_PAIR(2) JCB_PAIR(3) JCB_PAIR(4) JCB_PAIR(5) JCB_PAIR(6) JCB_PAIR(7)
                         JCB_PAIR(8) JCB_PAIR(9) JCB_PAIR(10) JCB_PAIR(11)
                     : JCB_TWELVE_SUMS("+x", s), "=&x"(product)
                     : "x"(weights), "x"(query));
  }
#undef JCB_PAIR
}

// vpdpbusd from registers: 64 products each.
__attribute__((target("avx512f,avx512bw,avx512vnni"))) void multiply_in_wide_registers(int64_t products) {
  __m512i s[12] = {};
  const __m512i weights = _mm512_set1_epi8(3), query = _mm512_set1_epi8(5);
#define JCB_PRODUCT(n) "vpdpbusd %13, %12, %" #n "\n\t"
  for (int64_t done = 0; done < products; done += 12 * 64) {
    __asm__ volatile(JCB_PRODUCT(0) JCB_PRODUCT(1) JCB_PRODUCT(2) JCB_PRODUCT(3) JCB_PRODUCT(4) JCB_PRODUCT(5)
                         JCB_PRODUCT(6) JCB_PRODUCT(7) JCB_PRODUCT(8) JCB_PRODUCT(9) JCB_PRODUCT(10) JCB_PRODUCT(11)
                     : JCB_TWELVE_SUMS("+v", s)
                     : "v"(weights), "v"(query));
  }
#undef JCB_PRODUCT
}

#if defined(JCB_HAVE_AMX)
// tdpbusd from registers: 16,384 products each.
__attribute__((target("amx-tile,amx-int8"))) void multiply_in_tiles(int64_t products) {
  maxsim::TileUnit unit;
  for (int64_t done = 0; done < products; done += 4 * 16384) {
    unit.multiply<0, 4, 6>();
    unit.multiply<1, 4, 7>();
    unit.multiply<2, 5, 6>();
    unit.multiply<3, 5, 7>();
  }
}
#endif
#elif defined(__ARM_FEATURE_DOTPROD)
// sdot from registers: 16 products each.
void multiply_in_registers(int64_t products) {
  int8x16_t weights = vdupq_n_s8(3), query = vdupq_n_s8(5);
  int32x4_t sums[16];
  for (auto& sum : sums) sum = vdupq_n_s32(0);
  for (int64_t done = 0; done < products; done += 16 * 16) {
#pragma GCC unroll 16
    for (auto& sum : sums) {
      __asm__ volatile("" : "+w"(weights), "+w"(query));
      sum = vdotq_laneq_s32(sum, query, weights, 1);
      __asm__ volatile("" : "+w"(sum));
    }
  }
}
#endif

Corpus corpus_of(int nbits) {
  CorpusOptions options{.dim = kDim, .nbits = nbits, .centroid_count = kCentroids, .document_lengths = {}};
  std::mt19937 random(3);
  std::normal_distribution<double> length(130.0, 50.0);
  for (int i = 0; i < 48; ++i) {
    options.document_lengths.push_back(std::clamp<int64_t>(std::llrint(length(random)), 20, 300));
  }
  return Corpus(options);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void print(const std::vector<Variant>& variants) {
  std::printf("{\"clock_ghz\": %.2f, \"dim\": %lld, \"centroids\": %lld, \"results\": [\n", 1e-9 / cycle_time(),
              static_cast<long long>(kDim), static_cast<long long>(kCentroids));
  for (size_t i = 0; i < variants.size(); ++i) {
    const Variant& v = variants[i];
    std::printf("  {\"set\": \"%s\", \"form\": \"%s\", \"nbits\": %d, \"query_tokens\": %lld, "
                "\"cycles_per_token\": %.1f, \"best_cycles\": %.1f, \"mtokens_per_second\": %.1f, "
                "\"best_mtokens\": %.1f, \"error_bound\": %.4f}%s\n",
                v.set.c_str(), v.form.c_str(), v.nbits, static_cast<long long>(v.query_tokens), median(v.cycles),
                *std::min_element(v.cycles.begin(), v.cycles.end()), median(v.rates),
                *std::max_element(v.rates.begin(), v.rates.end()), v.error_bound, i + 1 < variants.size() ? "," : "");
  }
  std::printf("]}\n");
}

}  // namespace
}  // namespace jcb::tests

int main(int argc, char** argv) {
  using namespace jcb::tests;
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 15;
  std::map<int, Corpus> corpora;
  std::map<int64_t, Queries> queries;
  for (const int nbits : {1, 2, 4, 8}) corpora.emplace(nbits, corpus_of(nbits));
  for (const int64_t tokens : {8, 16, 20, 32}) queries.emplace(tokens, Queries(corpora.at(2), {tokens}, 5));

  std::vector<Variant> variants;
  std::vector<std::unique_ptr<jcb::PreparedQueries>> prepared;
  std::vector<float> scores(1024);
  for (const Build& build : available_builds(stderr)) {
    if (build.name.find("SIMDe") != std::string::npos) continue;
    for (const auto& [nbits, corpus] : corpora) {
      for (const auto& [tokens, query] : queries) {
        const double corpus_tokens = static_cast<double>(corpus.segment().tokens);
        const int64_t documents = corpus.segment().documents;
        prepared.push_back(jcb::prepare_queries(*build.kernels, corpus.codec(), query.vectors.data(),
                                                query.offsets.data(), 1, {query.centroid_scores.data()}));
        const jcb::PreparedQueries* p = prepared.back().get();
        const jcb::SegmentView segment = corpus.segment();
        const uint32_t* all = corpus.all_documents.data();
        const double bound = p->error_bound(0, segment.max_sigma, segment.max_norm);
        variants.push_back({build.name, "fast", nbits, tokens, corpus_tokens, bound,
                            [=, &scores] { p->score_fast(segment, 0, all, documents, scores.data()); }});
        if (tokens != 20 && tokens != 32) continue;
        variants.push_back({build.name, "exact", nbits, tokens, corpus_tokens, 0.0,
                            [=, &scores] { p->score_exact(segment, 0, all, documents, scores.data()); }});
        if (nbits != 2) continue;
        variants.push_back({build.name, "prepare", nbits, tokens, 1.0, 0.0, [&, tokens, kernels = build.kernels] {
                              const uint32_t document = 0;
                              const Corpus& two_bits = corpora.at(2);
                              const Queries& q = queries.at(tokens);
                              jcb::prepare_queries(*kernels, two_bits.codec(), q.vectors.data(), q.offsets.data(), 1,
                                                   {q.centroid_scores.data()})
                                  ->score_fast(two_bits.segment(), 0, &document, 1, scores.data());
                            }});
      }
    }
  }
#if defined(__AVX2__) || defined(__ARM_FEATURE_DOTPROD)
#if defined(__AVX2__)
  const char* set = "avx2";
#else
  const char* set = "neon";
#endif
  variants.push_back({set, "int8 products in registers", 8, 32, 10000.0, 0.0,
                      [] { multiply_in_registers(10000 * 32 * kDim); }});
#endif
#if defined(__AVX2__)
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni")) {
    variants.push_back({"avx512", "int8 products in registers", 8, 32, 10000.0, 0.0,
                        [] { multiply_in_wide_registers(10000 * 32 * kDim); }});
  }
#if defined(JCB_HAVE_AMX)
  if (jcb::supports(jcb::InstructionSet::kAmx)) {
    variants.push_back({"amx", "int8 products in registers", 8, 32, 10000.0, 0.0,
                        [] { multiply_in_tiles(10000 * 32 * kDim); }});
  }
#endif
#endif
  if (argc > 2) {
    std::erase_if(variants, [&](const Variant& v) {
      const std::string sizes = std::to_string(v.nbits) + " " + std::to_string(v.query_tokens);
      return (v.set + " " + v.form + " " + sizes).find(argv[2]) == std::string::npos;
    });
  }
  for (Variant& variant : variants) variant.run();
  for (int round = 0; round < rounds; ++round) {
    for (Variant& variant : variants) {
      variant.run();  // its tables back into the caches
      const double cycle = cycle_time(), start = seconds();
      variant.run();
      const double elapsed = seconds() - start;
      variant.cycles.push_back(elapsed / cycle / variant.tokens);
      variant.rates.push_back(variant.tokens / elapsed / 1e6);
    }
  }
  print(variants);
  return 0;
}
