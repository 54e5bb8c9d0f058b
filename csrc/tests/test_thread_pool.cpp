// The thread pool: every item once, for many callers at a time; errors carried; and tables that are made by its threads
// while other callers score with them. For the thread sanitizer above all.
#include "jcb/thread_pool.h"

#include <atomic>
#include <chrono>
#include <cmath>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tests/check.h"
#include "tests/scoring.h"

namespace jcb::tests {
namespace {

void every_item_runs_once_for_every_caller() {
  const ThreadPool pool(4);
  std::vector<std::thread> callers;
  std::atomic<int> wrong{0};
  for (int caller = 0; caller < 3; ++caller) {
    callers.emplace_back([&, caller] {
      for (int round = 0; round < 400; ++round) {
        const int64_t items = (round * 7 + caller) % 40;
        std::vector<int> runs(items);  // written by whoever takes the item, read when all are done
        pool.for_each(items, [&](int64_t item) { ++runs[item]; });
        for (const int count : runs) wrong += count != 1;
        if (round % 50 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));  // helpers fall asleep
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  JCB_CHECK(wrong == 0, "%d items ran not once", wrong.load());
}

void an_error_reaches_its_caller_alone() {
  const ThreadPool pool(3);
  for (int round = 0; round < 100; ++round) {
    const auto failing = [&] {
      pool.for_each(20, [&](int64_t item) {
        if (item == round % 20) throw std::runtime_error("an item");
      });
    };
    JCB_CHECK(throws<std::runtime_error>(failing), "round %d", round);
    std::atomic<int64_t> sum{0};
    pool.for_each(20, [&](int64_t item) { sum += item; });
    JCB_CHECK(sum == 190, "round %d", round);
  }
}

void pools_end_whatever_their_threads_do() {
  for (int round = 0; round < 30; ++round) {
    const ThreadPool pool(4);
    std::atomic<int64_t> sum{0};
    for (int call = 0; call < round % 3; ++call) pool.for_each(9, [&](int64_t item) { sum += item; });
    JCB_CHECK(sum == round % 3 * 36, "round %d", round);
  }
}

void tables_are_made_once_by_all() {
  const Corpus corpus({.dim = 20, .nbits = 4, .centroid_count = 2'600, .document_lengths = kDocumentLengths});
  const Queries queries(corpus, {40, 7}, 5);
  const ThreadPool pool(4);
  for (const Build& build : available_builds(stdout)) {
    if (build.name.find("SIMDe") != std::string::npos) continue;  // the same code
    const std::vector<float> alone = score(*prepare(build, corpus, queries), corpus, 0, true);
    for (int round = 0; round < 10; ++round) {
      const auto prepared = prepare(build, corpus, queries);
      std::vector<std::vector<float>> found(3);
      std::vector<std::thread> callers;
      for (int caller = 0; caller < 3; ++caller) {
        callers.emplace_back([&, caller] {
          if (caller < 2) prepared->make_ready(0, pool);
          found[caller] = score(*prepared, corpus, 0, true);
        });
      }
      for (std::thread& caller : callers) caller.join();
      for (const std::vector<float>& scores : found) JCB_CHECK(same_bits(scores, alone), "%s", build.name.c_str());
    }
  }
}

}  // namespace
}  // namespace jcb::tests

int main() {
  using namespace jcb::tests;
  every_item_runs_once_for_every_caller();
  an_error_reaches_its_caller_alone();
  pools_end_whatever_their_threads_do();
  tables_are_made_once_by_all();
  return report("thread_pool");
}
