// Which documents a kernel scores, and which of them are a warp's.
#pragma once
#include "cuda/query_layout.h"

namespace jcb::cuda {

constexpr float kMinusInfinity = -__builtin_huge_valf();  // what a document without tokens scores

// Items: documents in the order of their scores. Pieces name ranges of items. For a scan of all documents the two arrays
// are one: the sums of the store's own documents.
struct Work {
  const char* tiles;            // of the store
  const uint64_t* first_tiles;  // [items]: of each item's document
  const uint64_t* tile_sums;    // [items + 1]: tiles of all items before
};

// Lists that were made on the device, one a query, each with room for `room` documents. More were counted than written
// where there was too little room.
struct DocumentLists {
  const uint32_t* first_pieces;  // [queries + 1]: the pieces of each query
  const uint32_t* counts;        // [queries]
  const uint32_t* documents;     // [queries][room]
  uint32_t room;
};

JCB_DEVICE uint32_t length_of(const DocumentLists& lists, uint32_t query) {
  return lists.counts[query] < lists.room ? lists.counts[query] : lists.room;
}

JCB_DEVICE uint32_t tiles_of(const Work& work, uint32_t item) {
  return static_cast<uint32_t>(work.tile_sums[item + 1] - work.tile_sums[item]);
}

struct Share {
  uint32_t first, last;
};

// The weight of all items before one: their tiles, and one for each.
JCB_DEVICE uint64_t weight_before(const Work& work, uint32_t item) { return work.tile_sums[item] + item; }

// The first of some items that has at least `weight` before it, which a warp's lanes look for together: 32 items at a time.
struct Border {
  uint32_t first, last;  // it is one of these
  uint64_t weight;

  JCB_DEVICE bool is_found() const { return first == last; }
  JCB_DEVICE uint32_t step() const { return (last - first + kWarpLanes - 1) / kWarpLanes; }
  JCB_DEVICE bool is_behind(const Work& work) const {  // the item that this lane looks at
    const uint32_t item = first + threadIdx.x % kWarpLanes * step();
    return item < last && weight_before(work, item) < weight;
  }
  JCB_DEVICE void narrow(uint32_t behind) {  // so many lanes' items are
    const uint32_t wide = step(), end = first + behind * wide;
    first = behind == 0 ? first : end - wide + 1;
    last = behind == 0 ? first : end < last ? end : last;
  }
};

// A piece's items are parted by weight: an item belongs to the warp in whose equal part it begins, and what is left over
// at the end to the last warp. All lanes of the warp together.
JCB_DEVICE Share share_of(const Work& work, const Piece& piece, uint32_t warp, uint32_t warps) {
  const uint32_t last = piece.first_item + piece.items;
  const uint64_t begin = weight_before(work, piece.first_item), weight = weight_before(work, last) - begin;
  Border from{piece.first_item, last, begin + weight * warp / warps};
  Border to{piece.first_item, last, begin + weight * (warp + 1) / warps};
  if (warp + 1 == warps) to.first = last;
  while (!from.is_found() || !to.is_found()) {
    const uint32_t behind_from = ballot(from.is_behind(work)), behind_to = ballot(to.is_behind(work));
    from.narrow(number_of_bits(behind_from));
    to.narrow(number_of_bits(behind_to));
  }
  return {from.first, to.first};
}

}  // namespace jcb::cuda
