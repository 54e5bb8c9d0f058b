// Search by a scan on the GPU, emulated: the kernels that find the k-th of many scores, and the graph as a whole, against
// sorting, MaxSim in double precision, and the exact kernel called document by document.
#include "cuda/scan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "cuda/kernels/select.h"
#include "tests/check.h"
#include "tests/corpus.h"
#include "tests/emulated_gpu.h"

namespace jcb::tests {
namespace {

using cuda::DeviceArray;
constexpr float kNone = -std::numeric_limits<float>::infinity();

// Places of the scores that reach the k-th less `margin`, by the kernels.
std::vector<std::set<uint32_t>> selected(const std::vector<std::vector<float>>& scores, uint32_t k, float margin,
                                         const std::vector<uint8_t>& mask, uint32_t room, unsigned blocks,
                                         std::vector<uint32_t>& counts) {
  const uint32_t queries = static_cast<uint32_t>(scores.size()), count = static_cast<uint32_t>(scores[0].size());
  std::vector<float> flat;
  for (const auto& own : scores) flat.insert(flat.end(), own.begin(), own.end());
  const DeviceArray<float> there(flat, {}), margins(std::vector<float>(queries, margin), {});
  const DeviceArray<uint8_t> mask_there(mask, {});
  const DeviceArray<uint32_t> digits(std::vector<uint32_t>(queries * cuda::kDigitWords), {});
  const DeviceArray<uint32_t> counts_there(std::vector<uint32_t>(queries), {}), documents(size_t{queries} * room), k_there({k}, {});
  const cuda::Ranked ranked{there.data(), nullptr, count, count, mask.empty() ? nullptr : mask_there.data(), digits.data()};
  for (int pass = 0; pass < cuda::kDigitPasses; ++pass) {
    cuda::launch<cuda::count_digits>({}, blocks * queries, cuda::kSelectThreads, sizeof(cuda::DigitCounts), ranked,
                                     static_cast<const uint32_t*>(k_there.data()), pass, blocks);
  }
  cuda::launch<cuda::collect_reaching>(
      {}, blocks * queries, cuda::kSelectThreads, sizeof(cuda::DigitCounts), ranked,
      cuda::Reaching{digits.data(), margins.data(), counts_there.data(), documents.data(), room},
      static_cast<const uint32_t*>(k_there.data()), blocks);
  counts.assign(queries, 0);
  cuda::from_device(counts.data(), counts_there.data(), queries * sizeof(uint32_t), {});
  std::vector<std::set<uint32_t>> found(queries);
  for (uint32_t query = 0; query < queries; ++query) {
    std::vector<uint32_t> own(std::min(counts[query], room));
    cuda::from_device(own.data(), documents.data() + size_t{query} * room, own.size() * sizeof(uint32_t), {});
    found[query] = {own.begin(), own.end()};
    JCB_CHECK(found[query].size() == own.size(), "query %u has a document twice", query);
  }
  return found;
}

std::set<uint32_t> expected_of(const std::vector<float>& scores, uint32_t k, float margin, const std::vector<uint8_t>& mask) {
  std::vector<float> allowed;
  const auto counts = [&](uint32_t i) { return scores[i] > kNone && (mask.empty() || (mask[i / 8] >> (i % 8) & 1)); };
  for (uint32_t i = 0; i < scores.size(); ++i) {
    if (counts(i)) allowed.push_back(scores[i]);
  }
  std::sort(allowed.rbegin(), allowed.rend());
  const float floor = allowed.size() >= k ? allowed[k - 1] - margin : kNone;
  std::set<uint32_t> reaching;
  for (uint32_t i = 0; i < scores.size(); ++i) {
    if (counts(i) && scores[i] >= floor) reaching.insert(i);
  }
  return reaching;
}

void test_the_kth_score_is_found_among_scores_of_any_sign_and_size() {
  std::mt19937 random(5);
  std::uniform_int_distribution<uint32_t> bits;
  for (const uint32_t count : {1u, 31u, 257u, 3000u}) {
    std::vector<std::vector<float>> scores(3, std::vector<float>(count));
    for (auto& value : scores[0]) value = std::normal_distribution<float>(20.0f, 3.0f)(random);
    for (auto& value : scores[1]) {  // any bits but those of NaN
      do value = cuda::float_of_bits(bits(random));
      while (std::isnan(value) || value == -kNone);
    }
    for (auto& value : scores[2]) value = static_cast<float>(bits(random) % 5) - 2.0f;  // mostly ties
    for (size_t i = 0; i < count; i += 7) scores[0][i] = kNone;
    std::vector<uint8_t> mask((count + 7) / 8);
    for (auto& byte : mask) byte = static_cast<uint8_t>(bits(random));
    for (const uint32_t k : {1u, 2u, 10u, 1000u, 5000u}) {
      for (const unsigned blocks : {1u, 3u}) {
        for (const bool masked : {false, true}) {
          std::vector<uint32_t> counts;
          const std::vector<uint8_t> own = masked ? mask : std::vector<uint8_t>{};
          const auto found = selected(scores, k, 0.0f, own, count, blocks, counts);
          for (size_t query = 0; query < scores.size(); ++query) {
            JCB_CHECK(found[query] == expected_of(scores[query], k, 0.0f, own), "%u scores, k %u, query %zu, masked %d: %u",
                      count, k, query, masked, counts[query]);
          }
        }
      }
    }
  }
}

void test_a_margin_lets_more_in_and_too_little_room_is_told() {
  std::mt19937 random(6);
  std::vector<std::vector<float>> scores(1, std::vector<float>(2000));
  for (auto& value : scores[0]) value = std::normal_distribution<float>(20.0f, 3.0f)(random);
  std::vector<uint32_t> counts;
  const auto found = selected(scores, 10, 1.5f, {}, 2000, 2, counts)[0];
  const auto expected = expected_of(scores[0], 10, 1.5f, {});
  JCB_CHECK(std::includes(found.begin(), found.end(), expected.begin(), expected.end()) && found.size() <= expected.size() + 1,
            "%zu found, %zu expected", found.size(), expected.size());
  const auto cut = selected(scores, 500, 0.0f, {}, 100, 2, counts)[0];
  JCB_CHECK(cut.size() == 100 && counts[0] == 500, "%zu written, %u counted", cut.size(), counts[0]);
}

// ---------------------------------------------------------------------------------------------------------- the graph
struct Case {
  const char* what;
  std::vector<int64_t> query_lengths;
  int64_t k;
  bool masked;
};

// The best k are there, every score is the exact kernel's, and nothing is there that could not be among them.
void check_search(const Case& given, const Corpus& corpus, const cuda::DeviceStore& store, cuda::Scanner& scanner) {
  const Queries queries(corpus, given.query_lengths, 11);
  const int64_t query_count = static_cast<int64_t>(given.query_lengths.size());
  const uint32_t documents = static_cast<uint32_t>(corpus.all_documents.size());
  std::vector<uint8_t> mask((documents + 7) / 8, 0x5b);
  cuda::Found found;
  const bool all = scanner.search(queries.vectors.data(), queries.offsets.data(), query_count, given.k,
                                  given.masked ? mask.data() : nullptr, found);
  JCB_CHECK(all, "%s: there was room", given.what);
  if (!all) return;
  const cuda::DeviceQueries call(store, queries.vectors.data(), queries.offsets.data(), query_count);
  for (int64_t query = 0; query < query_count; ++query) {
    std::vector<float> exact(documents), fast(documents);
    std::vector<int64_t> offsets(query_count + 1, 0);
    for (int64_t i = query; i < query_count; ++i) offsets[i + 1] = documents;
    Candidates lists;
    lists.documents = corpus.all_documents.data();
    lists.list_offsets = offsets.data();
    call.score(lists, true, exact.data());
    call.score(lists, false, fast.data());
    std::set<uint32_t> own;
    for (int64_t i = found.offsets[query]; i < found.offsets[query + 1]; ++i) {
      own.insert(found.documents[i]);
      JCB_CHECK(found.scores[i] == exact[found.documents[i]], "%s: document %u scores %.9g, and alone %.9g", given.what,
                found.documents[i], found.scores[i], exact[found.documents[i]]);
    }
    const auto wanted = expected_of(exact, static_cast<uint32_t>(given.k), 0.0f, given.masked ? mask : std::vector<uint8_t>{});
    JCB_CHECK(std::includes(own.begin(), own.end(), wanted.begin(), wanted.end()), "%s: query %ld lacks a hit: %zu of %zu",
              given.what, static_cast<long>(query), own.size(), wanted.size());
    // By what is proven of fast scores, these could be hits as well.
    float floor = std::numeric_limits<float>::infinity();
    for (const uint32_t document : wanted) floor = std::min(floor, exact[document]);
    const double bound = call.error_bound(query);
    for (const uint32_t document : corpus.all_documents) {
      const bool allowed = !given.masked || (mask[document / 8] >> (document % 8) & 1);
      JCB_CHECK(!allowed || !(fast[document] >= floor - 0.99 * bound) || own.count(document) == 1,
                "%s: document %u could be a hit: %.9g, at least %.9g less %.3g", given.what, document, fast[document], floor, bound);
    }
    for (const uint32_t document : own) {
      JCB_CHECK(std::isfinite(exact[document]) && (!given.masked || (mask[document / 8] >> (document % 8) & 1)),
                "%s: document %u is no hit", given.what, document);
    }
  }
}

void test_the_best_are_found_with_their_exact_scores() {
  for (const int nbits : {1, 2, 4, 8, 16}) {
    CorpusOptions options;
    options.dim = nbits == 4 ? 96 : 128;
    options.nbits = nbits;
    options.document_lengths = {0, 1, 17, 0, 16, 130, 15, 3, 33, 1, 1, 64, 0, 5, 5, 9, 20, 2, 2, 8};
    const Corpus corpus(options);
    const cuda::DeviceStore store(store_of(corpus));
    cuda::Scanner scanner(store);
    check_search({"one query", {32}, 3, false}, corpus, store, scanner);
    check_search({"a query of another length", {5}, 3, false}, corpus, store, scanner);
    JCB_CHECK(scanner.graphs() == 1, "one graph serves queries of one piece: %zu", scanner.graphs());
    check_search({"some masked", {20}, 3, true}, corpus, store, scanner);
    check_search({"a long query", {70}, 2, false}, corpus, store, scanner);
    check_search({"a batch", {32, 3, 0, 40, 32}, 4, true}, corpus, store, scanner);
    check_search({"more wanted than there are", {9}, 100, false}, corpus, store, scanner);
  }
}

void test_documents_that_are_alike_do_not_fit_and_that_is_told() {
  CorpusOptions options;
  options.dim = 32;
  options.document_lengths.assign(40, 2);
  Corpus corpus(options);
  const size_t codes = corpus.codes.size() / corpus.sigmas.size();
  for (size_t token = 1; token < corpus.sigmas.size(); ++token) {  // all tokens the first
    std::copy_n(corpus.codes.begin(), codes, corpus.codes.begin() + static_cast<ptrdiff_t>(token * codes));
    corpus.ids_16[token] = corpus.ids_16[0];
    corpus.sigmas[token] = corpus.sigmas[0];
    corpus.norms[token] = corpus.norms[0];
  }
  const Queries queries(corpus, {4}, 3);
  const cuda::DeviceStore store(store_of(corpus));
  cuda::Found found;
  cuda::Scanner small(store, 8), large(store, 64);
  const auto search = [&](cuda::Scanner& scanner, int64_t k) {
    return scanner.search(queries.vectors.data(), queries.offsets.data(), 1, k, nullptr, found);
  };
  JCB_CHECK(!search(small, 2) && found.documents.empty(), "40 documents alike in lists of 8");
  JCB_CHECK(search(large, 2) && found.documents.size() == 40, "%zu documents alike", found.documents.size());
  JCB_CHECK(!search(large, cuda::kMostWanted + 1), "more hits than lists are made for");
}

// A GPU that has room for some graphs: those of before make way, and where nothing is left to go, the search is refused.
void test_graphs_make_way_for_a_new_one() {
  CorpusOptions options;
  options.dim = 32;
  options.document_lengths.assign(60, 5);
  const Corpus corpus(options);
  const cuda::DeviceStore store(store_of(corpus));
  cuda::Scanner scanner(store);
  const size_t before = cuda::emulation::allocations.bytes, unlimited = cuda::emulation::settings.memory;
  check_search({"two pieces", {40}, 3, false}, corpus, store, scanner);
  check_search({"three pieces", {80}, 3, false}, corpus, store, scanner);
  const size_t held = cuda::emulation::allocations.bytes - before;
  cuda::emulation::settings.memory = before + held + 1000;
  const Queries queries(corpus, {100}, 11);
  cuda::Found found;
  const auto search = [&] { scanner.search(queries.vectors.data(), queries.offsets.data(), 1, 3, nullptr, found); };
  search();
  JCB_CHECK(scanner.graphs() == 1 && found.documents.size() >= 3, "%zu graphs, %zu found", scanner.graphs(), found.documents.size());
  const Queries other(corpus, {10}, 11);
  cuda::emulation::settings.memory = before + 1000;
  JCB_CHECK(throws<cuda::DeviceError>([&] {
              scanner.search(other.vectors.data(), other.offsets.data(), 1, 3, nullptr, found);
            }),
            "no room for any graph");
  cuda::emulation::settings.memory = unlimited;
  search();
  JCB_CHECK(scanner.graphs() == 1 && found.documents.size() >= 3, "a search after one that was refused");
}

void test_searches_of_nothing_and_of_what_is_no_number() {
  CorpusOptions options;
  options.dim = 32;
  options.document_lengths = {0, 0};
  const Corpus empty(options);
  const Queries queries(empty, {4, 2}, 3);
  const cuda::DeviceStore store(store_of(empty));
  cuda::Scanner scanner(store);
  cuda::Found found;
  JCB_CHECK(scanner.search(queries.vectors.data(), queries.offsets.data(), 2, 3, nullptr, found) && found.documents.empty() &&
                found.offsets == std::vector<int64_t>({0, 0, 0}),
            "documents without tokens");
  JCB_CHECK(scanner.search(queries.vectors.data(), queries.offsets.data(), 0, 3, nullptr, found) && found.offsets.size() == 1,
            "no query");
  options.document_lengths = {3};
  const Corpus corpus(options);
  const cuda::DeviceStore other(store_of(corpus));
  cuda::Scanner of_other(other);
  Queries bad = queries;
  bad.vectors[3] = NAN;
  JCB_CHECK(throws<std::invalid_argument>([&] {
              of_other.search(bad.vectors.data(), bad.offsets.data(), 2, 3, nullptr, found);
            }),
            "NaN in a query");
}

void test_nothing_of_a_graph_waits_or_allocates() {
  const auto recorded = [](auto work) { return [work] { const cuda::Graph graph({}, work); }; };
  JCB_CHECK(throws<cuda::DeviceError>(recorded([] { cuda::synchronise({}); })), "waiting in a graph");
  JCB_CHECK(throws<cuda::DeviceError>(recorded([] { DeviceArray<int> array(3); })), "allocating in a graph");
  int from = 7, to = 0;
  const cuda::Graph graph({}, [&] { cuda::begin_to_device(&to, &from, sizeof from, {}); });
  JCB_CHECK(to == 0, "recorded, not done");
  graph.run({});
  JCB_CHECK(to == 7, "done");
}

}  // namespace

int run_all() {
  test_the_kth_score_is_found_among_scores_of_any_sign_and_size();
  test_a_margin_lets_more_in_and_too_little_room_is_told();
  test_the_best_are_found_with_their_exact_scores();
  test_documents_that_are_alike_do_not_fit_and_that_is_told();
  test_searches_of_nothing_and_of_what_is_no_number();
  test_graphs_make_way_for_a_new_one();
  test_nothing_of_a_graph_waits_or_allocates();
  return report("test_cuda_scan");
}

}  // namespace jcb::tests

int main() {
  jcb::tests::take_seed_from_environment();
  return jcb::tests::run_all();
}
