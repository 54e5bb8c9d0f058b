// The kernels of select.h, launched.
#pragma once
#include "cuda/device.h"
#include "cuda/kernels/lay_out.h"
#include "cuda/kernels/ranked.h"

namespace jcb::cuda {

// k: on the device. The k-th largest of `ranked` is then in its digits. most: scores of a query.
void launch_count(const Ranked& ranked, const uint32_t* k, uint32_t queries, uint32_t most, Stream stream);
void launch_collect(const Ranked& ranked, const Reaching& reaching, const uint32_t* k, uint32_t queries, uint32_t most,
                    Stream stream);

// Both, where ranked and reaching are of the same scores: in one kernel where these are few, at most kFewScores.
constexpr uint32_t kFewScores = 1 << 16;
void launch_reach(const Ranked& ranked, const Reaching& reaching, const uint32_t* k, uint32_t queries, uint32_t most,
                  Stream stream);

// Of few scores a query, both in one kernel: the k best, the lower numbers where scores tie (and they as items, unless
// `items` is empty) ...
void launch_best_of_few(const Ranked& ranked, const Reaching& reaching, const uint32_t* k, const LaidOut& items,
                        uint32_t queries, Stream stream);
// ... all of `ranked` that reach the k-th score of found_in, and ...
void launch_reach_few(const Ranked& found_in, const Ranked& ranked, const Reaching& reaching, const uint32_t* k,
                      uint32_t queries, Stream stream);
// ... all that reach it raised by `errors` times the largest difference of found_in to `judged`, [queries][its stride].
void launch_reach_judged(const Ranked& found_in, const Ranked& ranked, const float* judged, float errors,
                         const Reaching& reaching, const uint32_t* k, uint32_t queries, Stream stream);

// All of many scores a query, at most `most`, that reach the k-th of the few of found_in.
void launch_reach_many(const Ranked& found_in, const Ranked& ranked, const Reaching& reaching, const uint32_t* k,
                       uint32_t queries, uint32_t most, Stream stream);

}  // namespace jcb::cuda
