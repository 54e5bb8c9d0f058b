// The CUDA MaxSim kernels, run on the CPU by the emulation, with the host code that launches them: against MaxSim in double
// precision, over ragged, empty and hostile input, and several orders of threads.
#include "cuda/maxsim.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "tests/check.h"
#include "tests/corpus.h"
#include "tests/emulated_gpu.h"

namespace jcb::tests {
namespace {

std::vector<float> scored(const cuda::DeviceQueries& queries, const Candidates& candidates, size_t count, bool exact) {
  std::vector<float> scores(count, NAN);
  queries.score(candidates, exact, scores.data());
  return scores;
}

cuda::DeviceQueries prepared(const cuda::DeviceStore& store, const Queries& queries) {
  return {store, queries.vectors.data(), queries.offsets.data(), static_cast<int64_t>(queries.offsets.size()) - 1};
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

constexpr double kBatchError = 2e-4;  // a query token; fp16 vectors of length 1
constexpr double kByteError = 6e-4;   // of 8 bits, whose levels are integers in a batch too
constexpr double kRawError = 5e-5;    // the query alone is rounded, to fp16
constexpr int kWidths[] = {2, 8, 16};  // that differ in more than how codes are looked up

// Every score of `documents` for every query, as a scan gives them. `most` is allowed where it is less than what is proven:
// a batch is far nearer than its bound, which a single piece shares.
void check_scores(const char* what, const Corpus& corpus, const Queries& queries, const std::vector<float>& scores,
                  const cuda::DeviceQueries& call, bool exact, double most) {
  const size_t documents = corpus.all_documents.size();
  for (size_t query = 0; query + 1 < queries.offsets.size(); ++query) {
    const double tokens = static_cast<double>(queries.offsets[query + 1] - queries.offsets[query]);
    const double allowed = exact ? 2e-5 * (1.0 + tokens) * corpus.options.norm
                                 : std::min(call.error_bound(query), most * (5.0 + tokens));
    for (size_t document = 0; document < documents; ++document) {
      const double expected = reference_score(corpus, queries, query, document);
      const float score = scores[query * documents + document];
      const bool right = std::isinf(expected) ? score == -INFINITY : std::fabs(score - expected) <= allowed;
      JCB_CHECK(right, "%s, %s, dim %ld, query %zu of %g tokens, document %zu: %.9g, expected %.9g within %.3g", what,
                exact ? "exact" : "fast", static_cast<long>(corpus.options.dim), query, tokens, document, score, expected,
                allowed);
    }
  }
}

// 8 * 16 tokens and some: every warp has documents of its own, and some have none.
const std::vector<int64_t> kLengths{0, 1, 17, 0, 16, 130, 15, 300, 33, 1, 1, 64, 0};

void check_scan(const char* what, const CorpusOptions& options, const std::vector<int64_t>& query_lengths,
                float query_norm = 1.0f, double most = INFINITY) {
  const Corpus corpus(options);
  const Queries queries(corpus, query_lengths, 7, query_norm);
  const cuda::DeviceStore store(store_of(corpus));
  const cuda::DeviceQueries call = prepared(store, queries);
  const int64_t start = 0, end = static_cast<int64_t>(options.document_lengths.size());
  Candidates all;
  all.starts = &start;
  all.ends = &end;
  all.range_count = 1;
  for (const bool exact : {false, true}) {
    check_scores(what, corpus, queries, scored(call, all, query_lengths.size() * end, exact), call, exact, most);
  }
}

void test_every_dimension_is_scored() {
  for (const int64_t dim : {1, 16, 31, 32, 48, 64, 96, 100, 128, 129, 160, 256, 300}) {
    CorpusOptions options;
    options.dim = dim;
    options.document_lengths = {5, 0, 20, 33};
    options.seed = static_cast<uint64_t>(dim);
    check_scan("dimensions", options, {4});
  }
}

void test_every_width_of_codes_is_scored() {
  for (const int nbits : {1, 4, 8, 16}) {
    for (const int64_t dim : {5, 32, 64, 96, 100, 128, 160, 300}) {
      CorpusOptions options;
      options.dim = dim;
      options.nbits = nbits;
      options.document_lengths = {5, 0, 33};
      const bool is_ordinary = dim > 32 && dim <= 128;  // fewer dimensions err by more each
      const double most = nbits == 8 ? 2.0 * kByteError : nbits == 16 ? kRawError : INFINITY;
      const double batch = nbits == 8 ? kByteError : nbits == 16 ? kRawError : kBatchError;
      check_scan("width of codes", options, {4, 32}, 1.0f, is_ordinary ? most : INFINITY);
      check_scan("width of codes in a batch", options, {4, 1, 1, 40}, 1.0f, is_ordinary ? batch : INFINITY);
    }
  }
}

void test_the_most_dimensions_are_scored() {
  for (const int nbits : {4, 8, 16}) {
    CorpusOptions options;
    options.dim = 1024;
    options.nbits = nbits;
    options.document_lengths = {1, 0, 18};
    check_scan("1024 dimensions", options, {3, 33});
  }
}

void test_queries_of_any_length_are_scored() {
  for (const int nbits : kWidths) {
    CorpusOptions options;
    options.dim = 64;
    options.nbits = nbits;
    options.document_lengths = {3, 0, 40, 16};
    check_scan("lengths of queries", options, {1, 0, 7, 31, 32, 33, 64, 100});
    check_scan("a long query", options, {1024});
    check_scan("no token at all", options, {0});
  }
}

void test_ragged_documents_are_scored() {
  for (const int nbits : kWidths) {
    CorpusOptions options;
    options.nbits = nbits;
    options.document_lengths = kLengths;
    check_scan("ragged", options, {32});
    options.wide_ids = true;
    options.centroid_count = 1000;
    if (nbits != 16) check_scan("wide ids", options, {32, 5});
    options.document_lengths = {0, 0, 0};
    check_scan("only empty documents", options, {32});
    options.document_lengths = {nbits == 2 ? 2000 : 500};
    check_scan("one long document", options, {8});
    options.dim = 200;
    options.document_lengths = {0, 0, 17, 0, 40, 0};
    check_scan("ragged and wide", options, {32});
  }
}

// Four pieces or more over one range are scored by the batch kernel, eight at a time.
void test_batches_are_scored() {
  for (const int nbits : kWidths) {
    CorpusOptions options;
    options.nbits = nbits;
    options.document_lengths = kLengths;
    const double most = nbits == 8 ? kByteError : nbits == 16 ? kRawError : kBatchError;
    check_scan("a batch", options, {32, 5, 0, 31, 32}, 1.0f, most);
    if (nbits == 2) check_scan("more than a block's warps", options, {40, 300, 7}, 1.0f, most);
    for (const int64_t dim : {1, 32, 40, 64, 96, 100}) {
      if (nbits != 2 && dim != 1 && dim != 40) continue;  // test_every_width_of_codes_is_scored has these
      options.dim = dim;
      options.document_lengths = {5, 0, 20, 33, 0};
      check_scan("a batch of other dimensions", options, {3, 3, 32, 1, 2, 70});
    }
    options.document_lengths = {0, 0};
    check_scan("a batch over empty documents", options, {3, 3, 3, 3});
  }
}

void test_any_codec_is_scored() {
  CorpusOptions options;
  options.document_lengths = {30, 2};
  options.levels = {-3.0f, 0.1f, 0.5f, 0.7f};
  check_scan("uneven levels", options, {32});
  check_scan("uneven levels in a batch", options, {32, 2, 2, 2}, 1.0f, kBatchError);
  options.levels = {0.0f, 0.0f, 0.0f, 0.0f};
  check_scan("levels of zero", options, {32});
  options.levels = {};
  options.centroid_count = 1;
  check_scan("one centroid", options, {32});
  options.centroid_count = 17;
  options.norm = 40.0f;
  options.norm_scale = 32.0f;
  for (const int nbits : kWidths) {
    options.nbits = nbits;
    check_scan("norms", options, {32}, 3.0f);
    check_scan("norms in a batch", options, {32, 3, 3, 3}, 3.0f);
  }
  options.norm_scale = 1.0f;
  options.sigma = 3.0f;
  for (const int nbits : {2, 8}) {
    options.nbits = nbits;
    check_scan("residuals longer than centroids", options, {32}, 1e-3f);
  }
}

// Levels that share an integer are told apart in exact scores, however many they are.
void test_any_levels_of_8_bits_are_scored() {
  std::vector<float> even(256), near(256), few(256), high(256);
  for (int i = 0; i < 256; ++i) {
    even[i] = static_cast<float>(std::min(i, 254) - 127) / 32.0f;
    near[i] = i == 9 ? 40.0f : static_cast<float>(i) * 1e-3f;  // all but one share an integer or two
    few[i] = i % 3 == 0 ? -1.0f : static_cast<float>(i % 5);   // in no order, and most of them equal
    high[i] = 300.0f + static_cast<float>(i);
  }
  const struct {
    const char* name;
    std::vector<float> levels;
    int rank_bits;
    float sigma;
  } tables[] = {{"Gaussian levels", gaussian_levels(8), 2, 0.04f},
                {"even levels", even, 0, 0.04f},
                {"levels beside one another", near, 8, 0.5f},
                {"equal levels", few, 0, 0.04f},
                {"levels far from zero", high, 4, 1e-4f},
                {"levels of zero", std::vector<float>(256), 0, 0.04f}};
  for (const auto& [name, levels, rank_bits, sigma] : tables) {
    CorpusOptions options;
    options.nbits = 8;
    options.levels = levels;
    options.sigma = sigma;
    options.document_lengths = {30, 0, 2};
    Corpus corpus(options);
    const int found = cuda::LevelBytes(corpus.codec()).rank_bits;
    JCB_CHECK(found == rank_bits, "%s: %d bits tell them apart", name, found);
    check_scan(name, options, {32});
    check_scan(name, options, {32, 2, 2, 2});
    options.dim = 40;
    check_scan(name, options, {5});
  }
}

// Levels that are each other's negatives have look-ups of their own; all others the general ones.
void test_any_levels_of_4_bits_are_scored() {
  std::vector<float> gaussian = gaussian_levels(4), nearly = gaussian, uneven = gaussian, outwards(16), shifted = gaussian;
  nearly[3] = std::nextafter(nearly[3], 0.0f);
  uneven[3] += 0.01f;
  for (int i = 0; i < 8; ++i) outwards[8 + i] = static_cast<float>((i * 5 + 3) % 8), outwards[7 - i] = -outwards[8 + i];
  for (float& level : shifted) level += 4.0f;
  const struct {
    const char* name;
    std::vector<float> levels;
    bool is_symmetric;
  } tables[] = {{"Gaussian levels", gaussian, true},   {"nearly their negatives", nearly, true},
                {"one level farther", uneven, false},  {"symmetric in no order, one of them zero", outwards, true},
                {"none below zero", shifted, false},   {"levels of zero", std::vector<float>(16), false}};
  for (const auto& [name, levels, is_symmetric] : tables) {
    CorpusOptions options;
    options.nbits = 4;
    options.levels = levels;
    options.document_lengths = {30, 0, 2};
    const Corpus corpus(options);
    JCB_CHECK(cuda::LevelBytes(corpus.codec()).is_symmetric == is_symmetric, "%s: symmetric", name);
    for (const int64_t dim : {128, 40, 300}) {
      options.dim = dim;
      check_scan(name, options, {32, 5});
      check_scan(name, options, {32, 2, 2, 2});
    }
  }
}

// Integers of a symmetric table are half of one off. What that makes of all dimensions together is seen where a query
// token has one sign in all of them.
void test_halves_of_a_symmetric_table_are_added_for_each_token() {
  CorpusOptions options;
  options.nbits = 4;
  options.sigma = 0.5f;
  options.document_lengths = {30, 0, 2};
  const Corpus corpus(options);
  Queries queries(corpus, {9}, 7);
  for (size_t i = 0; i < queries.vectors.size(); ++i) {
    const size_t token = i / static_cast<size_t>(options.dim);
    queries.vectors[i] = (token % 4 == 3 ? -1.0f : 1.0f) / std::sqrt(static_cast<float>(options.dim));
  }
  queries.score_centroids(corpus);
  const cuda::DeviceStore store(store_of(corpus));
  const cuda::DeviceQueries call = prepared(store, queries);
  const int64_t start = 0, end = 3;
  Candidates all;
  all.starts = &start;
  all.ends = &end;
  all.range_count = 1;
  check_scores("one sign", corpus, queries, scored(call, all, 3, false), call, false, 1e-3);
}

void check_lists_and_ranges(int nbits, int64_t dim) {
  CorpusOptions options;
  options.dim = dim;
  options.nbits = nbits;
  options.document_lengths = kLengths;
  const Corpus corpus(options);
  const Queries queries(corpus, {32, 0, 40, 3}, 3);
  const cuda::DeviceStore store(store_of(corpus));
  const cuda::DeviceQueries call = prepared(store, queries);
  const std::vector<uint32_t> documents{7, 7, 0, 12, 3, 3, 1, 5, 2};
  const std::vector<int64_t> offsets{0, 4, 6, 6, 9};
  Candidates lists;
  lists.documents = documents.data();
  lists.list_offsets = offsets.data();
  const std::vector<int64_t> starts{5, 0, 9}, ends{8, 0, 12};
  Candidates ranges;
  ranges.starts = starts.data();
  ranges.ends = ends.data();
  const std::vector<uint32_t> of_ranges{5, 6, 7, 9, 10, 11}, of_one_range{5, 6, 7};
  const Candidates none{};
  for (const bool exact : {false, true}) {
    const std::vector<float> listed = scored(call, lists, documents.size(), exact);
    for (size_t query = 0; query < 4; ++query) {
      const double allowed = exact ? 1e-3 : call.error_bound(query);
      for (int64_t i = offsets[query]; i < offsets[query + 1]; ++i) {
        const double expected = reference_score(corpus, queries, query, documents[i]);
        JCB_CHECK(std::isinf(expected) ? listed[i] == -INFINITY : std::fabs(listed[i] - expected) <= allowed,
                  "list entry %ld: %.9g, expected %.9g", static_cast<long>(i), listed[i], expected);
      }
    }
    for (const auto& wanted : {of_ranges, of_one_range}) {
      ranges.range_count = wanted.size() > 3 ? 3 : 1;
      const std::vector<float> ranged = scored(call, ranges, 4 * wanted.size(), exact);
      for (size_t i = 0; i < ranged.size(); ++i) {
        const size_t query = i / wanted.size();
        const double expected = reference_score(corpus, queries, query, wanted[i % wanted.size()]);
        JCB_CHECK(std::fabs(ranged[i] - expected) <= (exact ? 1e-3 : call.error_bound(query)),
                  "%ld ranges, entry %zu: %.9g, expected %.9g", static_cast<long>(ranges.range_count), i, ranged[i], expected);
      }
    }
    call.score(none, exact, nullptr);  // nothing to score, nowhere to write
  }
}

void test_lists_and_ranges_are_scored_in_their_order() {
  check_lists_and_ranges(2, 96);
  check_lists_and_ranges(8, 96);
  check_lists_and_ranges(8, 130);
  check_lists_and_ranges(16, 96);
  check_lists_and_ranges(16, 130);
}

void check_repeats(int nbits, const std::vector<int64_t>& lengths, const std::vector<int>& sizes) {
  CorpusOptions options;
  options.nbits = nbits;
  options.document_lengths = lengths;
  const Corpus corpus(options);
  const Queries queries(corpus, {32, 50}, 5), batch(corpus, {32, 50, 9, 9}, 6);
  const int64_t start = 0, end = static_cast<int64_t>(lengths.size());
  Candidates all;
  all.starts = &start;
  all.ends = &end;
  all.range_count = 1;
  std::vector<float> first[2], first_batch;
  for (const int multiprocessors : sizes) {
    cuda::emulation::settings.multiprocessors = multiprocessors;
    for (int repeat = 0; repeat < 2; ++repeat) {  // each launch has a seed of its own
      const cuda::DeviceStore store(store_of(corpus));
      const cuda::DeviceQueries call = prepared(store, queries);
      for (const bool exact : {false, true}) {
        const std::vector<float> scores = scored(call, all, 2 * lengths.size(), exact);
        if (first[exact].empty()) first[exact] = scores;
        JCB_CHECK(same_bits(scores, first[exact]), "%d multiprocessors, repeat %d, exact %d", multiprocessors, repeat, exact);
      }
      const std::vector<float> scores = scored(prepared(store, batch), all, 4 * lengths.size(), false);
      if (first_batch.empty()) first_batch = scores;
      JCB_CHECK(same_bits(scores, first_batch), "a batch, %d multiprocessors, repeat %d", multiprocessors, repeat);
    }
  }
  cuda::emulation::settings.multiprocessors = 2;
}

void test_results_do_not_depend_on_the_order_of_threads_or_the_size_of_the_gpu() {
  check_repeats(2, kLengths, {1, 2, 7});
  for (const int nbits : {8, 16}) check_repeats(nbits, {0, 1, 17, 0, 130, 33, 0}, {1, 3});
}

void check_segments(int nbits) {
  CorpusOptions options;
  options.dim = 32;
  options.nbits = nbits;
  options.document_lengths = {4, 0, 18};
  const Corpus corpus(options);
  StoreView twice = store_of(corpus);
  twice.segments.push_back(twice.segments[0]);
  twice.segment_starts.push_back(6);
  const Queries queries(corpus, {9}, 2);
  const cuda::DeviceStore store(twice);
  const cuda::DeviceQueries call = prepared(store, queries);
  const int64_t start = 0, end = 6;
  Candidates all;
  all.starts = &start;
  all.ends = &end;
  all.range_count = 1;
  const std::vector<float> scores = scored(call, all, 6, true);
  for (int i = 0; i < 3; ++i) {
    const double expected = reference_score(corpus, queries, 0, i);
    JCB_CHECK(scores[i] == scores[i + 3], "document %d: %g and %g", i, scores[i], scores[i + 3]);
    const bool is_right = std::isinf(expected) ? scores[i] == -INFINITY : std::fabs(scores[i] - expected) < 1e-3;
    JCB_CHECK(is_right, "document %d: %g, expected %g", i, scores[i], expected);
  }
}

void test_several_segments_are_one_store() {
  for (const int nbits : kWidths) check_segments(nbits);
}

void check_hostile_input(int nbits) {
  CorpusOptions options;
  options.dim = 32;
  options.nbits = nbits;
  options.document_lengths = {4, 2};
  Corpus corpus(options);
  const Queries queries(corpus, {3}, 2);
  const auto made = [&] { cuda::DeviceStore store(store_of(corpus)); };
  const cuda::DeviceStore store(store_of(corpus));
  std::vector<float> scores(3);
  const auto scoring = [&](uint32_t document) {
    return [&, document] {
      const int64_t offsets[2] = {0, 1};
      Candidates lists;
      lists.documents = &document;
      lists.list_offsets = offsets;
      prepared(store, queries).score(lists, false, scores.data());
    };
  };
  JCB_CHECK(throws<CorruptIndex>(scoring(2)), "a document past the last");
  JCB_CHECK(throws<CorruptIndex>(scoring(0xffffffff)), "the largest number of a document");
  for (const float bad : {NAN, INFINITY}) {
    Queries with = queries;
    with.vectors[40] = bad;
    JCB_CHECK(throws<std::invalid_argument>([&] { prepared(store, with); }), "a query of %g", bad);
  }
  if (nbits != 16) {
    corpus.ids_16[3] = static_cast<uint16_t>(options.centroid_count);
    JCB_CHECK(throws<CorruptIndex>(made), "a centroid that is not there");
    corpus.ids_16[3] = 0;
    for (const float bad : {NAN, INFINITY, -INFINITY}) {
      const float before = corpus.levels[1];
      corpus.levels[1] = bad;
      JCB_CHECK(throws<CorruptIndex>(made), "a level of %g", bad);
      corpus.levels[1] = before;
    }
  }
  for (const int64_t bad : {int64_t{-1}, int64_t{7}, INT64_MAX, INT64_MIN}) {
    corpus.doc_offsets[1] = bad;
    JCB_CHECK(throws<CorruptIndex>(made), "an offset of %ld", static_cast<long>(bad));
  }
  corpus.doc_offsets[1] = 4;
  cuda::emulation::settings.memory = 300;
  JCB_CHECK(throws<cuda::DeviceError>(made), "too little memory");
  cuda::emulation::settings.memory = size_t{1} << 34;
}

void test_hostile_input_is_refused() {
  for (const int nbits : kWidths) check_hostile_input(nbits);
}

void test_more_dimensions_than_shared_memory_has_room_for_are_refused() {
  for (const int nbits : {4, 8, 16}) {
    CorpusOptions options;
    options.dim = 4096;
    options.nbits = nbits;
    options.centroid_count = 1;
    options.document_lengths = {1};
    const Corpus corpus(options);
    JCB_CHECK(throws<std::invalid_argument>([&] { cuda::DeviceStore store(store_of(corpus)); }), "%d bits", nbits);
  }
}

// What such a document scores is anybody's guess; others are what they were, and so is the bound.
void test_raw_values_that_are_no_numbers_stay_with_their_document() {
  for (const int64_t dim : {32, 160}) {
    CorpusOptions options;
    options.dim = dim;
    options.nbits = 16;
    options.document_lengths = {3, 18, 2};
    Corpus corpus(options);
    const Queries queries(corpus, {5, 2, 2, 2}, 4);
    const auto scores_of = [&](bool exact) {
      const cuda::DeviceStore store(store_of(corpus));
      const int64_t start = 0, end = 3;
      Candidates all;
      all.starts = &start;
      all.ends = &end;
      all.range_count = 1;
      std::vector<float> scores = scored(prepared(store, queries), all, 12, exact);
      scores.push_back(static_cast<float>(prepared(store, queries).error_bound(0)));
      for (size_t i = 1; i < 12; i += 3) scores[i] = 0.0f;
      return scores;
    };
    const std::vector<float> before[2] = {scores_of(false), scores_of(true)};
    corpus.set_value(9, 3, 0x7e00);   // NaN
    corpus.set_value(9, 4, 0x7c00);   // infinity
    corpus.set_value(12, 5, 0xfc00);  // and the negative one
    for (const bool exact : {false, true}) {
      JCB_CHECK(same_bits(scores_of(exact), before[exact]), "dim %ld, exact %d", static_cast<long>(dim), exact);
    }
  }
}

void check_scalars_are_cut_down(int nbits) {
  CorpusOptions options;
  options.dim = 32;
  options.nbits = nbits;
  options.document_lengths = {16};
  Corpus corpus(options);
  const Queries queries(corpus, {5}, 4);
  StoreView store = store_of(corpus);
  const int64_t start = 0, end = 1;
  Candidates all;
  all.starts = &start;
  all.ends = &end;
  all.range_count = 1;
  const auto score = [&] {
    const cuda::DeviceStore there(store);
    return scored(prepared(there, queries), all, 1, true);
  };
  const std::vector<float> before = score();
  size_t largest = 0;
  for (size_t t = 1; t < 16; ++t) largest = corpus.norms[t] > corpus.norms[largest] ? t : largest;
  corpus.norms[largest] = 0x7bff;  // 65504; fp16 bits of positive numbers are ordered as they are
  JCB_CHECK(same_bits(score(), before), "a norm beyond the largest changed a score");
}

void test_scalars_are_cut_down_to_the_largest_of_their_segment() {
  check_scalars_are_cut_down(2);
  check_scalars_are_cut_down(8);
}

}  // namespace

struct Shares {
  uint32_t *firsts, *lasts;
};
JCB_KERNEL(64, 1) find_shares(cuda::Work work, cuda::Piece piece, uint32_t warps, Shares shares) {
  const uint32_t warp = blockIdx.x * 2 + threadIdx.x / cuda::kWarpLanes;
  const cuda::Share share = cuda::share_of(work, piece, warp, warps);
  if (threadIdx.x % cuda::kWarpLanes == 0) shares.firsts[warp] = share.first, shares.lasts[warp] = share.last;
}

// Every item is one warp's, and no warp has more than its part and an item, however many have no tiles.
void test_items_are_shared_by_their_weight() {
  std::mt19937 random(12);
  for (const uint32_t items : {0u, 1u, 31u, 33u, 1000u, 40000u}) {
    for (const uint32_t warps : {2u, 6u, 64u, 2112u}) {
      std::vector<uint64_t> sums{5};  // of other items before
      for (uint32_t i = 0; i < items + 3; ++i) sums.push_back(sums.back() + (i > items / 2 ? 0 : random() % 12));
      const cuda::DeviceArray<uint64_t> there(sums, {});
      const cuda::DeviceArray<uint32_t> firsts(warps), lasts(warps);
      const cuda::Piece piece{0, 1, 2, items, 0};
      cuda::launch<find_shares>({}, warps / 2, 64, 0, cuda::Work{nullptr, there.data(), there.data()}, piece, warps,
                                Shares{firsts.data(), lasts.data()});
      const std::vector<uint32_t> first = back(firsts), last = back(lasts);
      const auto weight = [&](uint32_t from, uint32_t to) { return sums[to] - sums[from] + to - from; };
      const uint64_t most = weight(2, 2 + items) / warps + 1 + 12;
      uint32_t expected = 2;
      for (uint32_t warp = 0; warp < warps; ++warp) {
        JCB_CHECK(first[warp] == expected && last[warp] >= expected, "warp %u of %u has %u .. %u", warp, warps, first[warp], last[warp]);
        JCB_CHECK(weight(first[warp], last[warp]) <= most, "warp %u of %u has %llu of %u items", warp, warps,
                  static_cast<unsigned long long>(weight(first[warp], last[warp])), items);
        expected = last[warp];
      }
      JCB_CHECK(expected == 2 + items, "%u items of %u are somebody's", expected - 2, items);
    }
  }
}

int run_all() {
  test_items_are_shared_by_their_weight();
  test_every_dimension_is_scored();
  test_every_width_of_codes_is_scored();
  test_the_most_dimensions_are_scored();
  test_queries_of_any_length_are_scored();
  test_ragged_documents_are_scored();
  test_batches_are_scored();
  test_any_codec_is_scored();
  test_any_levels_of_4_bits_are_scored();
  test_halves_of_a_symmetric_table_are_added_for_each_token();
  test_any_levels_of_8_bits_are_scored();
  test_lists_and_ranges_are_scored_in_their_order();
  test_results_do_not_depend_on_the_order_of_threads_or_the_size_of_the_gpu();
  test_several_segments_are_one_store();
  test_hostile_input_is_refused();
  test_more_dimensions_than_shared_memory_has_room_for_are_refused();
  test_raw_values_that_are_no_numbers_stay_with_their_document();
  test_scalars_are_cut_down_to_the_largest_of_their_segment();
  return report("test_cuda_maxsim");
}

}  // namespace jcb::tests

int main() {
  jcb::tests::take_seed_from_environment();
  return jcb::tests::run_all();
}
