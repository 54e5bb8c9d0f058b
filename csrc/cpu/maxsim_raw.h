// MaxSim over stored fp16 vectors: decoded to fp32 a few rows at a time and multiplied there. Fast and exact alike.
#pragma once
#include "jcb/candidates.h"
#include "jcb/machine.h"
#include "jcb/store.h"

namespace jcb {

void maxsim_raw(const Machine& machine, const StoreView& store, const float* queries, const int64_t* query_offsets,
                int64_t query_count, const Candidates& candidates, float* scores);

}  // namespace jcb
