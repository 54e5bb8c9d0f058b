// Rows of a table in blocks that threads share.
#pragma once
#include <algorithm>
#include <cstdint>

#include "jcb/thread_pool.h"

namespace jcb::maxsim {

constexpr int64_t kTableRowsPerBlock = 1024;  // 64 KB of scores of 16 query tokens: 10 us

inline int64_t row_blocks(int64_t rows) { return (rows + kTableRowsPerBlock - 1) / kTableRowsPerBlock; }

// work(block, begin, end), on the calling thread alone without a pool.
template <class Work>
void for_row_blocks(const ThreadPool* pool, int64_t rows, const Work& work) {
  const auto run = [&](int64_t block) {
    work(block, block * kTableRowsPerBlock, std::min(rows, (block + 1) * kTableRowsPerBlock));
  };
  if (pool != nullptr) return pool->for_each(row_blocks(rows), run);
  for (int64_t block = 0; block < row_blocks(rows); ++block) run(block);
}

}  // namespace jcb::maxsim
