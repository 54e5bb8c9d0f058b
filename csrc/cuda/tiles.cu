#include "cuda/tiles.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "jcb/half.h"

namespace jcb::cuda {
namespace {

int blocks_of(const CodecView& codec) {
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

void put_code(const TileShape& shape, int row, int64_t dimension, uint32_t code, uint8_t* tile) {
  const CodePlace place = place_of_code(shape.bits, row, static_cast<int>(dimension));
  uint8_t* const word = tile + shape.place_of(place.word, place.lane);
  word[place.shift / 8] |= static_cast<uint8_t>(code << place.shift % 8);
}

// Values of a raw token, of which no bit is looked at; its norm, or 0 where that is no number.
float put_values(const CodecView& codec, const uint8_t* values, const TileShape& shape, int row, uint8_t* tile) {
  double square = 0.0;
  for (int64_t d = 0; d < codec.dim; ++d) {
    uint16_t half;
    std::memcpy(&half, values + 2 * d, sizeof half);
    const CodePlace place = place_of_code(shape.bits, row, static_cast<int>(d));
    std::memcpy(tile + shape.place_of(place.word, place.lane) + place.shift / 8, &half, sizeof half);
    const double value = half_to_float(half);
    square += value * value;
  }
  return std::isfinite(square) ? static_cast<float>(std::sqrt(square)) : 0.0f;
}

void put_scalars(const CodecView& codec, const SegmentView& segment, int64_t token, int row, uint8_t* scalars) {
  const uint32_t pair[2] = {centroid_id(codec, segment, token),
                            at_most(segment.norms[token], segment.max_norm) |
                                static_cast<uint32_t>(at_most(segment.sigmas[token], segment.max_sigma)) << 16};
  std::memcpy(scalars + row % 8 * 16 + row / 8 * 8, pair, sizeof pair);
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

Tiles::Tiles(const StoreView& store)
    : level_bytes(store.codec),
      shape(store.codec.nbits, blocks_of(store.codec)),
      store_(store),
      rank_shape_(shape.bits == kByteBits ? level_bytes.rank_bits : 0, shape.blocks) {
  for (const SegmentView& segment : store.segments) {
    for (int64_t document = 0; document < segment.documents; ++document) {
      const int64_t tokens = checked_end(segment, document) - segment.doc_offsets[document];
      sums.push_back(sums.back() + static_cast<uint64_t>((tokens + kTileTokens - 1) / kTileTokens));
    }
    max_sigma = std::max(max_sigma, segment.max_sigma);
    max_norm = std::max(max_norm, segment.max_norm);
  }
}

size_t Tiles::postings() const {
  size_t count = 0;
  for (const SegmentView& segment : store_.segments) count += static_cast<size_t>(std::max<int64_t>(segment.posting_count, 0));
  return count;
}

float Tiles::write(uint64_t first, uint64_t last, uint8_t* tiles, uint8_t* ranks) const {
  if (first == last) return 0.0f;
  std::memset(tiles, 0, (last - first) * shape.bytes());
  if (rank_bytes() != 0) std::memset(ranks, 0, (last - first) * rank_bytes());
  float longest = 0.0f;
  for (uint64_t tile = first; tile < last; ++tile, tiles += shape.bytes(), ranks += rank_bytes()) {
    const int64_t document = std::upper_bound(sums.begin(), sums.end(), tile) - sums.begin() - 1;
    const auto& starts = store_.segment_starts;
    const int64_t number = std::upper_bound(starts.begin(), starts.end(), document) - starts.begin() - 1;
    const SegmentView& segment = store_.segments[number];
    const int64_t end = checked_end(segment, document - starts[number]);
    const int64_t begin =
        segment.doc_offsets[document - starts[number]] + static_cast<int64_t>(tile - sums[document]) * kTileTokens;
    for (int row = 0; row < kTileTokens; ++row) {
      longest = std::max(longest, put(segment, std::min(begin + row, end - 1), row, tiles, ranks));
    }
  }
  return longest;
}

float Tiles::put(const SegmentView& segment, int64_t token, int row, uint8_t* tile, uint8_t* ranks) const {
  const CodecView& codec = store_.codec;
  const uint8_t* const codes = segment.codes + token * codec.code_bytes();
  if (shape.bits == kRawBits) return put_values(codec, codes, shape, row, tile);
  for (int64_t d = 0; d < codec.dim; ++d) {
    const uint32_t code = codes[d * codec.nbits / 8] >> (d * codec.nbits % 8) & ((1u << codec.nbits) - 1);
    if (shape.bits != kByteBits) {
      put_code(shape, row, d, level_bytes.kept[code], tile);
      continue;
    }
    put_code(shape, row, d, static_cast<uint8_t>(level_bytes.integers[code]), tile);
    if (rank_shape_.bits != 0) put_code(rank_shape_, row, d, level_bytes.ranks[code], ranks);
  }
  put_scalars(codec, segment, token, row, tile + shape.code_bytes());
  return 0.0f;
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
