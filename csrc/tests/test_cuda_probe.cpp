// Search among candidates on the GPU, emulated: postings, narrowing and selection by themselves against plain loops, and
// the graph as a whole against the exact kernel called document by document.
#include "cuda/probe.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "cuda/kernels/narrow.h"
#include "cuda/kernels/postings.h"
#include "cuda/selecting.h"
#include "tests/check.h"
#include "tests/corpus.h"
#include "tests/emulated_gpu.h"

namespace jcb::tests {
namespace {

using cuda::DeviceArray;
constexpr float kNone = -std::numeric_limits<float>::infinity();

// A corpus with its postings, as one segment or, twice over, as two.
struct Posted {
  explicit Posted(const CorpusOptions& options, int copies = 1) : corpus(options), copies(copies) {
    std::vector<std::set<uint32_t>> lists(options.centroid_count);
    for (uint32_t document = 0; document < options.document_lengths.size(); ++document) {
      for (int64_t token = corpus.doc_offsets[document]; token < corpus.doc_offsets[document + 1]; ++token) {
        lists[corpus.ids_16[token]].insert(document);
      }
    }
    offsets.push_back(0);
    for (const auto& list : lists) {
      documents.insert(documents.end(), list.begin(), list.end());
      offsets.push_back(static_cast<int64_t>(documents.size()));
    }
  }
  StoreView view() const {
    StoreView store;
    store.codec = corpus.codec();
    store.segment_starts = {0};
    for (int copy = 0; copy < copies; ++copy) {
      SegmentView segment = corpus.segment();
      segment.posting_offsets = offsets.data();
      segment.posting_documents = documents.data();
      segment.posting_count = static_cast<int64_t>(documents.size());
      store.segments.push_back(segment);
      store.segment_starts.push_back(store.segment_starts.back() + segment.documents);
    }
    return store;
  }
  uint32_t count() const { return static_cast<uint32_t>(corpus.options.document_lengths.size()) * copies; }
  bool holds(int64_t centroid, uint32_t document) const {
    const uint32_t own = document % static_cast<uint32_t>(corpus.options.document_lengths.size());
    return std::binary_search(documents.begin() + offsets[centroid], documents.begin() + offsets[centroid + 1], own);
  }

  const Corpus corpus;
  const int copies;
  std::vector<int64_t> offsets;
  std::vector<uint32_t> documents;
};

CorpusOptions some_documents(int count, int64_t dim = 32) {
  CorpusOptions options;
  options.dim = dim;
  options.centroid_count = 40;
  for (int i = 0; i < count; ++i) options.document_lengths.push_back(i % 11 == 3 ? 0 : 1 + i * 7 % 40);
  return options;
}

// ------------------------------------------------------------------------------------------------------------ postings
void test_a_document_gains_once_a_token_by_the_best_probe_that_holds_it() {
  const Posted posted(some_documents(150), 2);
  std::mt19937 random(3);
  // Three pieces: a query of one, and one of two; some tokens without a probe, some with equal scores.
  constexpr uint32_t kPieces = 3, kTokens = kPieces * cuda::kColumns, kMost = 7, kQueries = 2;
  std::vector<uint32_t> counts(kTokens), centroids(kTokens * kMost), query_of_piece{0, 1, 1}, first_pieces{0, 1, 3};
  std::vector<float> scores(kTokens * kMost), frontiers(kTokens), steps(kTokens);
  for (uint32_t token = 0; token < kTokens; ++token) {
    counts[token] = random() % (kMost + 1);
    frontiers[token] = static_cast<float>(random() % 100) - 50.0f;
    steps[token] = token % 5 == 0 ? 0.0f : 0.25f + static_cast<float>(random() % 64) / 64.0f;
    std::vector<uint32_t> order(40);
    for (uint32_t i = 0; i < 40; ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), random);
    for (uint32_t i = 0; i < counts[token]; ++i) {
      centroids[token * kMost + i] = order[i];
      scores[token * kMost + i] = frontiers[token] + 1.0f + static_cast<float>(random() % 20);
    }
  }
  std::vector<std::vector<double>> expected(kQueries, std::vector<double>(posted.count()));
  for (uint32_t token = 0; token < kTokens; ++token) {
    const uint32_t query = query_of_piece[token / cuda::kColumns];
    double all_steps = 0.0;
    for (uint32_t i = first_pieces[query] * cuda::kColumns; i < first_pieces[query + 1] * cuda::kColumns; ++i) all_steps += steps[i];
    for (uint32_t document = 0; document < posted.count(); ++document) {
      double best = 0.0;
      for (uint32_t i = 0; i < counts[token]; ++i) {
        const uint32_t place = token * kMost + i;
        if (posted.holds(centroids[place], document)) best = std::max(best, double{scores[place]} - frontiers[token]);
      }
      expected[query][document] += best / 256.0 * steps[token] / all_steps * cuda::kFullGain;
    }
  }
  const DeviceArray<uint32_t> counts_there(counts, {}), centroids_there(centroids, {}), of_piece(query_of_piece, {}),
      firsts(first_pieces, {});
  const DeviceArray<float> scores_there(scores, {}), frontiers_there(frontiers, {}), steps_there(steps, {});
  for (const uint32_t range : {1000u, 64u, 33u}) {
    const cuda::DevicePostings postings(posted.view(), range, {});
    const DeviceArray<uint32_t> sums(std::vector<uint32_t>(kQueries * posted.count()), {});
    cuda::launch<cuda::accumulate_postings>(
        {}, kTokens * postings.range_count(), cuda::kPostingThreads, cuda::postings_shared_bytes(range),
        cuda::Probes{counts_there.data(), centroids_there.data(), scores_there.data(), frontiers_there.data(), kMost},
        cuda::Gains{postings.ranges(), postings.range_count(), steps_there.data(), of_piece.data(), firsts.data(), sums.data(),
                    posted.count()});
    const std::vector<uint32_t> found = back(sums);
    for (uint32_t query = 0; query < kQueries; ++query) {
      for (uint32_t document = 0; document < posted.count(); ++document) {
        const double got = found[query * posted.count() + document] >> cuda::kGainZeros, wanted = expected[query][document];
        // One for each token at least, even where it has no weight.
        JCB_CHECK(std::fabs(got - wanted) <= 64.0 + 1e-5 * wanted, "ranges of %u: query %u, document %u gains %.0f, not %.0f",
                  range, query, document, got, wanted);
      }
    }
  }
}

void test_damaged_postings_are_refused() {
  const Posted posted(some_documents(20));
  const auto refused = [&](const auto& damage) {
    Posted own = posted;
    damage(own);
    return throws<CorruptIndex>([&] { const cuda::DevicePostings postings(own.view(), 64, {}); });
  };
  JCB_CHECK(!refused([](Posted&) {}), "sound postings");
  JCB_CHECK(refused([](Posted& own) { own.documents.back() = 20; }), "a document that is not there");
  JCB_CHECK(refused([](Posted& own) { own.offsets.back() += 1; }), "more postings than there are");
  JCB_CHECK(refused([](Posted& own) { own.offsets[1] = -1; }), "an offset below zero");
  JCB_CHECK(refused([](Posted& own) { std::swap(own.offsets[2], own.offsets[5]); }), "offsets that fall");
  JCB_CHECK(refused([](Posted& own) {
              for (size_t c = 0; c + 1 < own.offsets.size(); ++c) {
                if (own.offsets[c + 1] - own.offsets[c] > 1) own.documents[own.offsets[c] + 1] = own.documents[own.offsets[c]];
              }
            }),
            "a document twice");
}

// ----------------------------------------------------------------------------------------------------------- selection
struct Few {
  std::vector<float> scores, judged;
  std::vector<uint32_t> numbers;
};

// most: of how many scores is said to be, for several blocks.
std::set<uint32_t> selected(const Few& given, uint32_t k, bool exactly, float errors, uint32_t most = 0) {
  const uint32_t count = static_cast<uint32_t>(given.scores.size());
  const DeviceArray<float> scores(given.scores, {}), judged(given.judged, {});
  const DeviceArray<uint32_t> numbers(given.numbers, {}), counts(std::vector<uint32_t>{count}, {}), k_there({k}, {});
  const DeviceArray<uint32_t> found_count(std::vector<uint32_t>{0}, {}), found(count);
  cuda::Ranked ranked{scores.data(), counts.data(), count};
  ranked.numbers = numbers.data();
  const cuda::Reaching reaching{nullptr, nullptr, found_count.data(), found.data(), count};
  if (exactly) {
    cuda::launch_best_of_few(ranked, reaching, k_there.data(), {}, 1, {});
  } else if (errors == 0.0f) {
    if (most == 0) cuda::launch_reach_few(ranked, ranked, reaching, k_there.data(), 1, {});
    if (most != 0) cuda::launch_reach_many(ranked, ranked, reaching, k_there.data(), 1, most, {});
  } else {
    cuda::launch_reach_judged(ranked, ranked, judged.data(), errors, reaching, k_there.data(), 1, {});
  }
  std::vector<uint32_t> documents = back(found);
  const uint32_t length = back(found_count)[0];
  JCB_CHECK(length <= count, "%u found among %u", length, count);
  documents.resize(std::min(length, count));
  const std::set<uint32_t> distinct(documents.begin(), documents.end());
  JCB_CHECK(distinct.size() == documents.size(), "a document twice");
  return distinct;
}

void test_the_best_of_few_are_exactly_so_many_and_ties_go_to_lower_numbers() {
  std::mt19937 random(8);
  for (const uint32_t count : {1u, 40u, 1500u}) {
    Few given;
    for (uint32_t i = 0; i < count; ++i) {
      given.scores.push_back(i % 9 == 4 ? kNone : static_cast<float>(random() % (count / 8 + 2)) - 3.0f);
      given.judged.push_back(given.scores.back() + (i == 5 ? 0.5f : 0.0f));
      given.numbers.push_back(i * 977 + 5);
    }
    std::shuffle(given.numbers.begin(), given.numbers.end(), random);
    std::vector<std::pair<float, uint32_t>> order;
    for (uint32_t i = 0; i < count; ++i) {
      if (given.scores[i] > kNone) order.push_back({-given.scores[i], given.numbers[i]});
    }
    std::sort(order.begin(), order.end());
    for (const uint32_t k : {1u, 7u, 100u, 2000u}) {
      std::set<uint32_t> best, reaching, near;
      const float kth = order.size() >= k ? -order[k - 1].first : kNone;
      for (size_t i = 0; i < order.size(); ++i) {
        if (i < k) best.insert(order[i].second);
        if (-order[i].first >= kth) reaching.insert(order[i].second);
        if (-order[i].first >= kth - (count > 5 ? 2.0f : 0.0f)) near.insert(order[i].second);
      }
      JCB_CHECK(selected(given, k, true, 0.0f) == best, "the best %u of %u", k, count);
      JCB_CHECK(selected(given, k, false, 0.0f) == reaching, "all that tie with the best %u of %u", k, count);
      JCB_CHECK(selected(given, k, false, 0.0f, 5000) == reaching, "the same by four blocks, the best %u of %u", k, count);
      JCB_CHECK(selected(given, k, false, 4.0f) == near, "four errors of a half below the best %u of %u", k, count);
    }
  }
}

// Many scores or few: what lies beyond the k-th, and the k-th itself, are the same.
void test_what_is_beyond_the_kth_is_found_in_one_kernel_and_in_several() {
  std::mt19937 random(9);
  std::vector<float> flat(3 * 700);
  for (float& score : flat) score = static_cast<float>(random() % 40) - 20.0f;
  const DeviceArray<float> scores(flat, {});
  const DeviceArray<uint32_t> counts(std::vector<uint32_t>{700, 0, 90}, {}), k_there({25u}, {});
  for (const bool in_one : {false, true}) {
    const DeviceArray<uint32_t> digits(std::vector<uint32_t>(3 * cuda::kDigitWords), {});
    const DeviceArray<uint32_t> found_counts(std::vector<uint32_t>(3), {}), documents(3 * 24);
    const DeviceArray<float> kths(3), found_scores(3 * 24);
    const cuda::Ranked ranked{scores.data(), counts.data(), 700, 0, nullptr, digits.data()};
    cuda::Reaching reaching{digits.data(), nullptr, found_counts.data(), documents.data(), 24, found_scores.data(), kths.data(), true};
    // To launch_reach, more scores than it takes in one kernel.
    cuda::launch_reach(ranked, reaching, k_there.data(), 3, in_one ? 700 : cuda::kFewScores + 1, {});
    for (uint32_t query : {0u, 2u}) {
      std::vector<float> own(flat.begin() + query * 700, flat.begin() + query * 700 + (query == 0 ? 700 : 90)), sorted = own;
      std::sort(sorted.rbegin(), sorted.rend());
      std::set<uint32_t> expected, found;
      for (uint32_t i = 0; i < own.size(); ++i) {
        if (own[i] > sorted[24]) expected.insert(i);
      }
      for (uint32_t i = 0; i < back(found_counts)[query]; ++i) {
        found.insert(back(documents)[query * 24 + i]);
        JCB_CHECK(back(found_scores)[query * 24 + i] == own[back(documents)[query * 24 + i]], "the score of another");
      }
      JCB_CHECK(found == expected && back(kths)[query] == sorted[24], "%zu beyond %g, not %zu beyond %g", found.size(),
                back(kths)[query], expected.size(), sorted[24]);
    }
    JCB_CHECK(back(found_counts)[1] == 0 && back(kths)[1] == kNone, "none of none");
  }
}

void test_two_passes_find_the_kth_of_scores_that_end_in_zeros() {
  std::mt19937 random(11);
  std::vector<float> flat(3000);
  for (float& score : flat) score = std::bit_cast<float>(static_cast<uint32_t>(random() % 0x1fc000) << cuda::kGainZeros);
  const DeviceArray<float> scores(flat, {});
  const DeviceArray<uint32_t> digits(std::vector<uint32_t>(cuda::kDigitWords), {}), counts(std::vector<uint32_t>(1), {});
  const DeviceArray<uint32_t> documents(3000), k_there({70u}, {});
  cuda::Ranked ranked{scores.data(), nullptr, 3000, 3000, nullptr, digits.data()};
  ranked.passes = 2;
  cuda::launch_count(ranked, k_there.data(), 1, 3000, {});
  cuda::launch_collect(ranked, {digits.data(), nullptr, counts.data(), documents.data(), 3000}, k_there.data(), 1, 3000, {});
  std::vector<float> sorted = flat;
  std::sort(sorted.rbegin(), sorted.rend());
  const uint32_t reaching = static_cast<uint32_t>(std::count_if(flat.begin(), flat.end(), [&](float s) { return s >= sorted[69]; }));
  JCB_CHECK(back(counts)[0] == reaching, "%u reach the 70th, not %u", back(counts)[0], reaching);
  for (uint32_t i = 0; i < std::min(back(counts)[0], 3000u); ++i) {
    JCB_CHECK(flat[back(documents)[i]] >= sorted[69], "document %u does not", back(documents)[i]);
  }
}

// ----------------------------------------------------------------------------------------------------------- the graph
struct Case {
  const char* what;
  std::vector<int64_t> query_lengths;
  int64_t k;
  cuda::ProbeSettings settings;
  bool masked = false;
};

std::vector<float> exact_scores(const cuda::DeviceStore& store, const Queries& queries, int64_t query) {
  const int64_t count = static_cast<int64_t>(queries.offsets.size()) - 1, start = 0, end = store.documents();
  Candidates all;
  all.starts = &start;
  all.ends = &end;
  all.range_count = 1;
  std::vector<float> scores(count * end);
  cuda::DeviceQueries(store, queries.vectors.data(), queries.offsets.data(), count).score(all, true, scores.data());
  return {scores.begin() + query * end, scores.begin() + (query + 1) * end};
}

// MaxSim in which a token is its centroid, of each document; and with only the probed ones, what it gains.
struct ByCentroids {
  ByCentroids(const Posted& posted, const Queries& queries, int64_t query, int64_t probes)
      : maxsim(posted.count()), gained(posted.count()) {
    const int64_t tokens = queries.offsets.back();
    for (int64_t q = queries.offsets[query]; q < queries.offsets[query + 1]; ++q) {
      std::vector<std::pair<double, int64_t>> order;
      for (int64_t c = 0; c < posted.corpus.options.centroid_count; ++c) order.push_back({-queries.centroid_scores[c * tokens + q], c});
      std::sort(order.begin(), order.end());
      for (uint32_t document = 0; document < posted.count(); ++document) {
        for (size_t place = 0; place < order.size(); ++place) {
          if (!posted.holds(order[place].second, document)) continue;
          maxsim[document] -= order[place].first;
          if (static_cast<int64_t>(place) < probes) gained[document] += order[probes].first - order[place].first;
          break;
        }
      }
    }
  }
  std::vector<double> maxsim, gained;
};

// The `count` best of those that `allowed` has, and how much worse than the last of them one may be and still be taken,
// since centroid scores are rounded.
std::vector<bool> best_of(const std::vector<double>& scores, const std::vector<bool>& allowed, size_t count, double slack) {
  std::vector<double> sorted;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (allowed[i]) sorted.push_back(scores[i]);
  }
  std::sort(sorted.rbegin(), sorted.rend());
  const double floor = sorted.empty() ? 0.0 : sorted[std::min(count, sorted.size()) - 1] - slack;
  std::vector<bool> best(scores.size());
  for (size_t i = 0; i < scores.size(); ++i) best[i] = allowed[i] && scores[i] >= floor;
  return best;
}

// Vectors of 0.5 to 2 times their length: each token has steps of its own.
std::vector<double> stretch(const Corpus& corpus, Queries& queries) {
  std::vector<double> lengths;
  for (int64_t token = 0; token < queries.offsets.back(); ++token) {
    lengths.push_back(0.5 + static_cast<double>(token * 7 % 13) / 8.0);
    for (int64_t d = 0; d < corpus.options.dim; ++d) {
      queries.vectors[token * corpus.options.dim + d] *= static_cast<float>(lengths.back());
    }
  }
  queries.score_centroids(corpus);
  return lengths;
}

void test_maxsim_of_centroids_is_right_to_a_byte() {
  const Posted posted(some_documents(60));
  const cuda::DeviceStore store(posted.view());
  Queries queries(posted.corpus, {40, 7}, 5);
  const std::vector<double> lengths = stretch(posted.corpus, queries);
  const cuda::Plan plan(store.document_sums, queries.offsets.data(), 2, Candidates{});
  const DeviceArray<float> vectors(queries.vectors, {}), scores(2 * 60);
  const DeviceArray<cuda::Piece> pieces(plan.pieces, {});
  const cuda::PreparedPieces prepared(store, 3);
  prepared.prepare(store, vectors.data(), pieces.data(), {});
  std::vector<uint32_t> all(posted.corpus.all_documents);
  all.insert(all.end(), posted.corpus.all_documents.begin(), posted.corpus.all_documents.end());
  const DeviceArray<uint32_t> documents(all, {}), counts(std::vector<uint32_t>{60, 60}, {}), first_pieces({0u, 2u, 3u}, {});
  cuda::launch<cuda::maxsim_centroid_lists>(
      {}, 4, cuda::kNarrowThreads, 0, store.everything(), store.shape, prepared.view(store, pieces.data()),
      cuda::DocumentLists{first_pieces.data(), counts.data(), documents.data(), 60}, 2u, scores.data());
  const std::vector<float> found = back(scores);
  for (int64_t query = 0; query < 2; ++query) {
    const ByCentroids by(posted, queries, query, 1);
    double slack = 1e-3;
    for (int64_t token = queries.offsets[query]; token < queries.offsets[query + 1]; ++token) slack += lengths[token] * 0.6 / 127.0;
    for (uint32_t document = 0; document < 60; ++document) {
      const bool is_empty = posted.corpus.options.document_lengths[document] == 0;
      const float own = found[query * 60 + document];
      JCB_CHECK(is_empty ? own == kNone : std::fabs(own - by.maxsim[document]) <= slack, "query %ld, document %u: %g, not %g",
                static_cast<long>(query), document, own, by.maxsim[document]);
    }
  }
}

void check_search(const Case& given, const Posted& posted, const cuda::DeviceStore& store, cuda::Prober& prober) {
  Queries queries(posted.corpus, given.query_lengths, 21);
  const std::vector<double> lengths = stretch(posted.corpus, queries);
  const int64_t query_count = static_cast<int64_t>(given.query_lengths.size());
  const std::vector<uint8_t> mask((posted.count() + 7) / 8, 0x6d);
  cuda::Found found, again;
  const auto search = [&](cuda::Found& answer) {
    return prober.search(queries.vectors.data(), queries.offsets.data(), query_count, given.k, given.settings,
                         given.masked ? mask.data() : nullptr, answer);
  };
  const bool all = search(found) && search(again);
  JCB_CHECK(all, "%s: there was room", given.what);
  if (!all) return;
  for (int64_t query = 0; query < query_count; ++query) {
    const std::vector<float> exact = exact_scores(store, queries, query);
    std::map<uint32_t, float> own, repeated;
    for (int64_t i = found.offsets[query]; i < found.offsets[query + 1]; ++i) own[found.documents[i]] = found.scores[i];
    for (int64_t i = again.offsets[query]; i < again.offsets[query + 1]; ++i) repeated[again.documents[i]] = again.scores[i];
    JCB_CHECK(own == repeated, "%s: query %ld has another answer the second time", given.what, static_cast<long>(query));
    for (const auto& [document, score] : own) {
      JCB_CHECK(score == exact[document], "%s: document %u scores %.9g, and alone %.9g", given.what, document, score, exact[document]);
    }
    // Rounded to a 127th of a query token's length, with its centroid: half of that, and for the difference the whole.
    double slack = 0.0;
    for (int64_t token = queries.offsets[query]; token < queries.offsets[query + 1]; ++token) slack += lengths[token] * 1.2 / 127.0;
    const ByCentroids by(posted, queries, query, given.settings.probes);
    std::vector<bool> allowed(posted.count());
    for (uint32_t document = 0; document < posted.count(); ++document) {
      allowed[document] = by.gained[document] > 1e-3 && (!given.masked || (mask[document / 8] >> (document % 8) & 1));
    }
    const size_t pool = given.settings.pool, kept = given.settings.documents;
    const auto widest = best_of(by.maxsim, best_of(by.gained, allowed, pool, 0.02), kept, slack);
    auto narrowest = best_of(by.maxsim, best_of(by.gained, allowed, pool, -0.02), kept, -slack);
    if (std::count(allowed.begin(), allowed.end(), true) <= static_cast<long>(kept)) narrowest = allowed;
    for (const auto& [document, score] : own) {
      JCB_CHECK(widest[document], "%s: query %ld: document %u is no candidate", given.what, static_cast<long>(query), document);
    }
    // What surely is a candidate and would be among the k best of all that could be: it must be found.
    std::vector<float> sorted;
    for (uint32_t document = 0; document < posted.count(); ++document) {
      if (widest[document]) sorted.push_back(exact[document]);
    }
    std::sort(sorted.rbegin(), sorted.rend());
    const float kth = sorted.empty() ? kNone : sorted[std::min<size_t>(given.k, sorted.size()) - 1];
    for (uint32_t document = 0; document < posted.count(); ++document) {
      JCB_CHECK(!narrowest[document] || exact[document] < kth || own.count(document) == 1,
                "%s: query %ld: document %u is missed, %.9g, the k-th %.9g", given.what, static_cast<long>(query), document,
                exact[document], kth);
    }
    JCB_CHECK(query_count > 1 || given.query_lengths[0] == 0 || !own.empty(), "%s: nothing is found", given.what);
  }
}

void test_candidates_are_found_narrowed_and_ranked() {
  for (const int nbits : {2, 8}) {
    CorpusOptions options = some_documents(150, nbits == 8 ? 48 : 32);
    options.nbits = nbits;
    const Posted posted(options, nbits == 2 ? 2 : 1);
    const cuda::DeviceStore store(posted.view());
    cuda::Prober prober(store, posted.view(), nbits == 2 ? 64 : 0);
    check_search({"one query", {32}, 3, {4, 60, 20}}, posted, store, prober);
    check_search({"a query of another length", {5}, 3, {4, 60, 20}}, posted, store, prober);
    JCB_CHECK(prober.graphs() == 1, "one graph serves queries of one piece: %zu", prober.graphs());
    check_search({"some masked", {20}, 3, {6, 40, 20}, true}, posted, store, prober);
    check_search({"everything is scored", {9}, 10, {39, 500, 400}}, posted, store, prober);
    if (nbits != 2) continue;
    check_search({"a long query", {70}, 2, {3, 50, 20}}, posted, store, prober);
    check_search({"a batch", {32, 3, 0, 40, 32}, 4, {5, 80, 30}, true}, posted, store, prober);
    check_search({"more wanted than are scored", {9}, 100, {2, 30, 12}}, posted, store, prober);
    check_search({"one probe", {1}, 1, {1, 300, 300}}, posted, store, prober);
  }
}

void test_what_a_graph_cannot_do_is_told() {
  const Posted posted(some_documents(60));
  const cuda::DeviceStore store(posted.view());
  const Queries queries(posted.corpus, {4}, 3);
  cuda::Found found;
  cuda::Prober prober(store, posted.view());
  const auto search = [&](cuda::Prober& asked, int64_t k, const cuda::ProbeSettings& settings) {
    return asked.search(queries.vectors.data(), queries.offsets.data(), 1, k, settings, nullptr, found);
  };
  JCB_CHECK(search(prober, 5, {4, 40, 20}) && !found.documents.empty(), "what it can");
  JCB_CHECK(!search(prober, 5, {40, 40, 20}) && found.documents.empty(), "all centroids");
  JCB_CHECK(!search(prober, 5, {int64_t{1} << 40, 40, 20}), "more probes than a block keeps");
  JCB_CHECK(!search(prober, cuda::kMostWanted + 1, {4, 40, 20}), "more hits than lists are made for");
  JCB_CHECK(!search(prober, 5, {4, 40, 0}), "nothing scored");

  CorpusOptions alike = some_documents(0);
  alike.document_lengths.assign(50, 1);
  Posted same(alike);
  same.documents.clear();
  for (uint32_t document = 0; document < 50; ++document) same.documents.push_back(document);
  for (size_t c = 1; c < same.offsets.size(); ++c) same.offsets[c] = 50;  // all in the list of centroid 0
  const cuda::DeviceStore of_same(same.view());
  cuda::Prober small(of_same, same.view(), 0, 10), large(of_same, same.view(), 0, 40);
  Queries likes_it(same.corpus, {1}, 3);
  std::copy_n(same.corpus.centroids.begin(), alike.dim, likes_it.vectors.begin());
  const auto both = [&](cuda::Prober& asked) {
    return asked.search(likes_it.vectors.data(), likes_it.offsets.data(), 1, 3, {2, 10, 5}, nullptr, found);
  };
  JCB_CHECK(!both(small) && found.documents.empty(), "50 documents gain alike, and 20 have room");
  JCB_CHECK(both(large) && !found.documents.empty(), "50 documents gain alike, and all have room");
}

void test_searches_of_nothing_and_of_what_is_no_number() {
  CorpusOptions options = some_documents(0);
  options.document_lengths = {0, 0};
  const Posted empty(options), full(some_documents(20));
  const cuda::DeviceStore of_empty(empty.view()), of_full(full.view());
  cuda::Prober nothing(of_empty, empty.view()), something(of_full, full.view());
  Queries queries(full.corpus, {4, 2}, 3);
  cuda::Found found;
  const cuda::ProbeSettings settings{4, 40, 20};
  JCB_CHECK(nothing.search(queries.vectors.data(), queries.offsets.data(), 2, 3, settings, nullptr, found) &&
                found.documents.empty() && found.offsets == std::vector<int64_t>({0, 0, 0}),
            "documents without tokens");
  JCB_CHECK(something.search(queries.vectors.data(), queries.offsets.data(), 0, 3, settings, nullptr, found) &&
                found.offsets.size() == 1,
            "no query");
  std::fill(queries.vectors.begin(), queries.vectors.end(), 0.0f);
  JCB_CHECK(something.search(queries.vectors.data(), queries.offsets.data(), 2, 3, settings, nullptr, found) &&
                found.documents.empty(),
            "no centroid is better than another for zeros: %zu", found.documents.size());
  queries.vectors[3] = NAN;
  JCB_CHECK(throws<std::invalid_argument>([&] {
              something.search(queries.vectors.data(), queries.offsets.data(), 2, 3, settings, nullptr, found);
            }),
            "NaN in a query");
}

}  // namespace

int run_all() {
  test_a_document_gains_once_a_token_by_the_best_probe_that_holds_it();
  test_damaged_postings_are_refused();
  test_the_best_of_few_are_exactly_so_many_and_ties_go_to_lower_numbers();
  test_what_is_beyond_the_kth_is_found_in_one_kernel_and_in_several();
  test_two_passes_find_the_kth_of_scores_that_end_in_zeros();
  test_maxsim_of_centroids_is_right_to_a_byte();
  test_candidates_are_found_narrowed_and_ranked();
  test_what_a_graph_cannot_do_is_told();
  test_searches_of_nothing_and_of_what_is_no_number();
  return report("test_cuda_probe");
}

}  // namespace jcb::tests

int main() {
  jcb::tests::take_seed_from_environment();
  return jcb::tests::run_all();
}
