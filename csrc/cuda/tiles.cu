#include "cuda/tiles.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "jcb/half.h"

namespace jcb::cuda {
namespace {

int blocks_of(const CodecView& codec) {
  if (codec.nbits != 1 && codec.nbits != 2 && codec.nbits != 4) {
    throw std::invalid_argument("the CUDA kernels read codes of 1, 2 or 4 bits; this codec has " +
                                std::to_string(codec.nbits));
  }
  return static_cast<int>((codec.dim + kBlockDimensions - 1) / kBlockDimensions);
}

uint16_t at_most(uint16_t half, float largest) {
  return half_to_float(half) <= largest ? half : float_to_half(largest);
}

uint32_t centroid_id(const CodecView& codec, const SegmentView& segment, int64_t token) {
  const uint32_t id = segment.centroid_ids_32 != nullptr ? segment.centroid_ids_32[token] : segment.centroid_ids_16[token];
  if (static_cast<int64_t>(id) >= codec.centroid_count) {
    throw CorruptIndex("token " + std::to_string(token) + " names centroid " + std::to_string(id) + "; there are " +
                       std::to_string(codec.centroid_count));
  }
  return id;
}

void put_token(const CodecView& codec, const SegmentView& segment, int64_t token, const TileShape& shape, int row,
               uint8_t* tile) {
  const uint8_t* const codes = segment.codes + token * codec.code_bytes();
  for (int64_t d = 0; d < codec.dim; ++d) {
    const uint32_t code = codes[d * codec.nbits / 8] >> (d * codec.nbits % 8) & ((1u << codec.nbits) - 1);
    const CodePlace place = place_of_code(codec.nbits, row, static_cast<int>(d));
    uint8_t* const word = tile + shape.place_of(place.word, place.lane);
    word[place.shift / 8] |= static_cast<uint8_t>(code << place.shift % 8);
  }
  const uint32_t scalars = at_most(segment.norms[token], segment.max_norm) |
                           static_cast<uint32_t>(at_most(segment.sigmas[token], segment.max_sigma)) << 16;
  const uint32_t pair[2] = {centroid_id(codec, segment, token), scalars};
  std::memcpy(tile + shape.code_bytes() + row % 8 * 16 + row / 8 * 8, pair, sizeof pair);
}

// Two dimensions of a centroid, zeros where there are none.
uint32_t centroid_pair(const CodecView& codec, int64_t row, int64_t dimension) {
  uint32_t word = 0;
  for (int i = 0; i < 2; ++i) {
    const bool there = row < codec.centroid_count && dimension + i < codec.dim;
    const float value = there ? codec.centroids[row * codec.dim + dimension + i] : 0.0f;
    word |= static_cast<uint32_t>(float_to_half(value)) << (16 * i);
  }
  return word;
}

int64_t checked_end(const SegmentView& segment, int64_t document) {
  const int64_t begin = segment.doc_offsets[document], end = segment.doc_offsets[document + 1];
  if (begin < 0 || end < begin || end > segment.tokens) {
    throw CorruptIndex("document " + std::to_string(document) + " has the tokens " + std::to_string(begin) + " to " +
                       std::to_string(end) + "; the segment has " + std::to_string(segment.tokens));
  }
  return end;
}

}  // namespace

Tiles::Tiles(const StoreView& store) : shape(store.codec.nbits, blocks_of(store.codec)) {
  uint64_t total = 0;
  for (const SegmentView& segment : store.segments) {
    for (int64_t document = 0; document < segment.documents; ++document) {
      const int64_t tokens = checked_end(segment, document) - segment.doc_offsets[document];
      total += static_cast<uint64_t>((tokens + kTileTokens - 1) / kTileTokens);
      sums.push_back(total);
    }
    max_sigma = std::max(max_sigma, segment.max_sigma);
    max_norm = std::max(max_norm, segment.max_norm);
  }
  bytes.resize(total * shape.bytes());
  size_t number = 0;
  for (const SegmentView& segment : store.segments) {
    for (int64_t document = 0; document < segment.documents; ++document) {
      uint8_t* tile = bytes.data() + sums[number] * shape.bytes();
      const int64_t begin = segment.doc_offsets[document], tokens = segment.doc_offsets[document + 1] - begin;
      const int64_t rows = static_cast<int64_t>(sums[number + 1] - sums[number]) * kTileTokens;
      for (int64_t row = 0; row < rows; ++row) {
        put_token(store.codec, segment, begin + std::min(row, tokens - 1), shape, static_cast<int>(row % kTileTokens),
                  tile + row / kTileTokens * shape.bytes());
      }
      ++number;
    }
  }
}

std::vector<uint4> centroid_tiles(const CodecView& codec, int blocks) {
  const int steps = blocks * kBlockDimensions / 16;
  const int64_t tiles = (codec.centroid_count + kCentroidRows - 1) / kCentroidRows;
  std::vector<uint4> operands;
  operands.reserve(static_cast<size_t>(tiles) * steps * kWarpLanes);
  for (int64_t tile = 0; tile < tiles; ++tile) {
    for (int step = 0; step < steps; ++step) {
      for (int lane = 0; lane < kWarpLanes; ++lane) {
        const int64_t row = tile * kCentroidRows + lane / 4;
        const int first = dimension_of_half(step, lane % 4 * 2), second = dimension_of_half(step, lane % 4 * 2 + 8);
        operands.push_back({centroid_pair(codec, row, first), centroid_pair(codec, row + 8, first),
                            centroid_pair(codec, row, second), centroid_pair(codec, row + 8, second)});
      }
    }
  }
  return operands;
}

std::vector<uint4> centroid_halves(const CodecView& codec, int blocks) {
  std::vector<uint4> halves;
  halves.reserve(static_cast<size_t>(codec.centroid_count) * blocks * 4);
  for (int64_t row = 0; row < codec.centroid_count; ++row) {
    for (int part = 0; part < blocks * 4; ++part) {
      const int first = part / 4 * kBlockDimensions + part % 4 * 4;
      halves.push_back({centroid_pair(codec, row, first), centroid_pair(codec, row, first + 2),
                        centroid_pair(codec, row, first + 16), centroid_pair(codec, row, first + 18)});
    }
  }
  return halves;
}

}  // namespace jcb::cuda
