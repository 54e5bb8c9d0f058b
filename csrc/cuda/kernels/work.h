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

// The first item of first .. last - 1 that starts at or after a tile.
JCB_DEVICE uint32_t first_item_at(const uint64_t* tile_sums, uint32_t first, uint32_t last, uint64_t tile) {
  while (first < last) {
    const uint32_t middle = first + (last - first) / 2;
    if (tile_sums[middle] < tile) {
      first = middle + 1;
    } else {
      last = middle;
    }
  }
  return first;
}

// A piece's items are parted by tiles: an item belongs to the warp in whose equal part its first tile lies, and what is
// left over at the end, items without tiles, to the last warp.
JCB_DEVICE Share share_of(const Work& work, const Piece& piece, uint32_t warp, uint32_t warps) {
  const uint32_t last = piece.first_item + piece.items;
  const uint64_t begin = work.tile_sums[piece.first_item], tiles = work.tile_sums[last] - begin;
  const auto border = [&](uint32_t before) {
    return before == warps ? last
                           : first_item_at(work.tile_sums, piece.first_item, last, begin + tiles * before / warps);
  };
  return {border(warp), border(warp + 1)};
}

}  // namespace jcb::cuda
