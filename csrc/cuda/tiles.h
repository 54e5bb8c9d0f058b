// A store's tokens as tiles (tile_layout.h), and centroids as an MMA's operand: made once, when a store goes to a GPU.
#pragma once
#include <cstdint>
#include <vector>

#include "cuda/level_bytes.h"
#include "cuda/tile_layout.h"
#include "jcb/store.h"

namespace jcb::cuda {

struct Tiles {
  // Throws CorruptIndex where an id or an offset points outside the arrays, or a level is no number. Larger scalars
  // than a segment's largest are cut down to it.
  explicit Tiles(const StoreView& store);

  const LevelBytes level_bytes;
  const TileShape shape;
  std::vector<uint8_t> bytes;
  std::vector<uint8_t> ranks;  // where integers are kept: as codes of rank_bits bits, tile by tile, without scalars
  std::vector<uint64_t> sums{0};  // [documents + 1]: tiles before each document
  float max_sigma = 0.0f, max_norm = 0.0f;  // of a raw codec, the norm of the longest vector without NaN or infinity

 private:
  void put(const CodecView& codec, const SegmentView& segment, int64_t token, uint64_t tile, int row);
};

// Centroids in fp16 as operand A of multiply_f16: [rows / 16][steps of 16 dimensions][lane], rows filled up with zeros.
std::vector<uint4> centroid_tiles(const CodecView& codec, int blocks);

// Centroids in fp16 as a lane adds them to its part of a tile: [K][blocks][lane % 4].
std::vector<uint4> centroid_halves(const CodecView& codec, int blocks);

}  // namespace jcb::cuda
