// A store's tokens as tiles (tile_layout.h), and centroids as an MMA's operand: made once, when a store goes to a GPU.
#pragma once
#include <cstdint>
#include <vector>

#include "cuda/tile_layout.h"
#include "jcb/store.h"

namespace jcb::cuda {

struct Tiles {
  // Throws CorruptIndex where an id or an offset points outside the arrays; std::invalid_argument for a codec that has no
  // tiles. Larger scalars than a segment's largest are cut down to it.
  explicit Tiles(const StoreView& store);

  TileShape shape;
  std::vector<uint8_t> bytes;
  std::vector<uint64_t> sums{0};  // [documents + 1]: tiles before each document
  float max_sigma = 0.0f, max_norm = 0.0f;
};

// Centroids in fp16 as operand A of multiply_f16: [rows / 16][steps of 16 dimensions][lane], rows filled up with zeros.
std::vector<uint4> centroid_tiles(const CodecView& codec, int blocks);

// Centroids in fp16 as a lane adds them to its part of a tile: [K][blocks][lane % 4].
std::vector<uint4> centroid_halves(const CodecView& codec, int blocks);

}  // namespace jcb::cuda
