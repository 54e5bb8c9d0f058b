// A store's tokens as tiles (tile_layout.h), and centroids as an MMA's operand: made once, when a store goes to a GPU.
// Where tiles then lie is tile_memory.h's question.
#pragma once
#include <cstdint>
#include <vector>

#include "cuda/level_bytes.h"
#include "cuda/tile_layout.h"
#include "jcb/store.h"

namespace jcb::cuda {

// How many tiles a store's documents have, and what is in any range of them: they are made a range at a time, since all
// of them can be more than the host's memory. Does not own what the view points to.
class Tiles {
 public:
  // Throws CorruptIndex where an offset points outside the arrays, or a level is no number.
  explicit Tiles(const StoreView& store);

  uint64_t count() const { return sums.back(); }
  size_t postings() const;  // of all segments
  size_t rank_bytes() const { return rank_shape_.code_bytes(); }  // of a tile
  // Fills `tiles` and `ranks` with what belongs to the tiles first .. last - 1; any number of threads may. Throws
  // CorruptIndex where a token names a centroid that is not there. Larger scalars than a segment's largest are cut down
  // to it. Returns, of a raw codec, the norm of the longest vector without NaN or infinity.
  float write(uint64_t first, uint64_t last, uint8_t* tiles, uint8_t* ranks) const;

  const LevelBytes level_bytes;
  const TileShape shape;
  std::vector<uint64_t> sums{0};  // [documents + 1]: tiles before each document
  float max_sigma = 0.0f, max_norm = 0.0f;  // of the segments; 0 of raw ones

 private:
  float put(const SegmentView& segment, int64_t token, int row, uint8_t* tile, uint8_t* ranks) const;

  const StoreView store_;
  const TileShape rank_shape_;  // where integers are kept: as codes of rank_bits bits, tile by tile, without scalars
};

// Centroids in fp16 as operand A of multiply_f16: [rows / 16][steps of 16 dimensions][lane], rows filled up with zeros.
std::vector<uint4> centroid_tiles(const CodecView& codec, int blocks);

// Centroids in fp16 as a lane adds them to its part of a tile: [K][blocks][lane % 4].
std::vector<uint4> centroid_halves(const CodecView& codec, int blocks);

}  // namespace jcb::cuda
