#include "cuda/selecting.h"

#include <algorithm>

#include "cuda/kernels/select.h"

namespace jcb::cuda {
namespace {

unsigned blocks_a_query(uint32_t most, uint32_t queries, unsigned blocks_a_multiprocessor) {
  return std::max<uint32_t>(1, std::min<uint32_t>(most / kScoresABlock, blocks_a_multiprocessor * multiprocessors() / queries));
}

void reach(const Ranked& found_in, const Ranked& ranked, const float* judged, float errors, const Reaching& reaching,
           const uint32_t* k, uint32_t queries, unsigned blocks, Stream stream) {
  launch<reach_few>(stream, blocks * queries, kFewThreads, sizeof(FewShared), found_in, ranked, judged, errors, reaching, k,
                    blocks);
}

}  // namespace

void launch_count(const Ranked& ranked, const uint32_t* k, uint32_t queries, uint32_t most, Stream stream) {
  const unsigned blocks = blocks_a_query(most, queries, 4);
  for (int pass = 0; pass < ranked.passes; ++pass) {
    launch<count_digits>(stream, blocks * queries, kSelectThreads, sizeof(DigitCounts), ranked, k, pass, blocks);
  }
}

void launch_collect(const Ranked& ranked, const Reaching& reaching, const uint32_t* k, uint32_t queries, uint32_t most,
                    Stream stream) {
  const unsigned blocks = blocks_a_query(most, queries, 8);
  launch<collect_reaching>(stream, blocks * queries, kSelectThreads, sizeof(DigitCounts), ranked, reaching, k, blocks);
}

void launch_reach(const Ranked& ranked, const Reaching& reaching, const uint32_t* k, uint32_t queries, uint32_t most,
                  Stream stream) {
  if (most <= kFewScores) return launch_reach_few(ranked, ranked, reaching, k, queries, stream);
  launch_count(ranked, k, queries, most, stream);
  launch_collect(ranked, reaching, k, queries, most, stream);
}

void launch_best_of_few(const Ranked& ranked, const Reaching& reaching, const uint32_t* k, const LaidOut& items,
                        uint32_t queries, Stream stream) {
  launch<best_of_few>(stream, queries, kFewThreads, sizeof(FewShared), ranked, reaching, k, items);
}

void launch_reach_few(const Ranked& found_in, const Ranked& ranked, const Reaching& reaching, const uint32_t* k,
                      uint32_t queries, Stream stream) {
  reach(found_in, ranked, nullptr, 0.0f, reaching, k, queries, 1, stream);
}

void launch_reach_judged(const Ranked& found_in, const Ranked& ranked, const float* judged, float errors,
                         const Reaching& reaching, const uint32_t* k, uint32_t queries, Stream stream) {
  reach(found_in, ranked, judged, errors, reaching, k, queries, 1, stream);
}

void launch_reach_many(const Ranked& found_in, const Ranked& ranked, const Reaching& reaching, const uint32_t* k,
                       uint32_t queries, uint32_t most, Stream stream) {
  reach(found_in, ranked, nullptr, 0.0f, reaching, k, queries, blocks_a_query(most, queries, 2), stream);
}

}  // namespace jcb::cuda
