// Lists that the device made, as the items that maxsim_fast takes.
#pragma once
#include "cuda/kernels/work.h"

namespace jcb::cuda {

// A list with room for `room` documents becomes room items, those beyond its length without tiles.
struct LaidOut {
  Work documents;        // of the store: all of them
  uint64_t* first_tiles;  // [queries][room + 1], as in Work
  uint64_t* tile_sums;    // likewise
};

constexpr int kItemsAtOnce = 8;  // of a thread, one after the other

// The threads of a block together. of_warps: in shared memory, of 32.
template <int kThreads>
JCB_DEVICE void lay_out(const LaidOut& given, uint32_t query, const uint32_t* documents, uint32_t length, uint32_t room,
                        uint32_t* of_warps) {
  const int lane = threadIdx.x % kWarpLanes, warp = threadIdx.x / kWarpLanes;
  const size_t to = static_cast<size_t>(query) * (room + 1);
  uint64_t before = 0;
  for (uint32_t first = 0; first < room; first += kThreads * kItemsAtOnce) {
    const uint32_t begin = first + threadIdx.x * kItemsAtOnce;
    uint32_t tiles[kItemsAtOnce], own = 0;
    uint64_t first_tiles[kItemsAtOnce];
#pragma unroll
    for (int j = 0; j < kItemsAtOnce; ++j) {
      const bool there = begin + j < length;
      const uint32_t document = there ? documents[begin + j] : 0;
      tiles[j] = there ? tiles_of(given.documents, document) : 0;
      first_tiles[j] = there ? given.documents.first_tiles[document] : 0;
      own += tiles[j];
    }
    uint32_t until = own;
#pragma unroll
    for (int step = 1; step < kWarpLanes; step *= 2) {
      const uint32_t other = shuffle(until, lane - step);
      until += lane >= step ? other : 0;
    }
    if (lane == kWarpLanes - 1) of_warps[warp] = until;
    block_barrier();
    uint64_t whole = 0, start = before + until - own;
    for (int w = 0; w < kThreads / kWarpLanes; ++w) {
      start += w < warp ? of_warps[w] : 0;
      whole += of_warps[w];
    }
#pragma unroll
    for (int j = 0; j < kItemsAtOnce; ++j) {
      if (begin + j < room) {
        given.first_tiles[to + begin + j] = first_tiles[j];
        given.tile_sums[to + begin + j] = start;
      }
      start += tiles[j];
    }
    before += whole;
    block_barrier();
  }
  if (threadIdx.x == 0) given.tile_sums[to + room] = before;
}

}  // namespace jcb::cuda
