// Tiles: the form in which stored tokens lie on a GPU. Used by host code, which makes them, and by kernels.
//
// A tile is 16 tokens of one document, in the order of an MMA's operand: a lane finds its codes beside each other, and
// each byte that it looks up is where the operand needs it. A document's last tile is filled up with copies of its last
// token, which cannot change a maximum: nothing is masked. Dimensions go in blocks of 32, the last one filled up too.
//
//   codes     `words` 32-bit words a lane: first four of every lane, then the next four, then the rest
//   8 x 16 B  for g in 0..7: {centroid id, scalars} of token g, then of token g + 8; scalars is the pair (norm, sigma)
//
// Codes of 1, 2 and 4 bits are looked up; those of 4 bits lie as LevelBytes::kept. One of 8 bits lies as the integer of
// its level (LevelBytes), 16 raw bits as they are: both are an MMA's operand already. Raw vectors have no scalars.
#pragma once
#include <cstdint>

#include "cuda/machine.h"

namespace jcb::cuda {

constexpr int kWarpLanes = 32;
constexpr int kTileTokens = 16;
constexpr int kBlockDimensions = 32;
constexpr int kCentroidRows = 16;  // of centroids, in an MMA
constexpr int kScalarBytes = 128;
constexpr int kByteBits = 8, kRawBits = 16;  // widths that an MMA takes as they lie

struct TileShape {
  int bits, blocks, words;  // bits a code, blocks of 32 dimensions, words a lane

  JCB_ANYWHERE constexpr TileShape(int bits, int blocks)
      : bits(bits), blocks(blocks), words((bits * blocks * kTileTokens + 31) / 32) {}
  JCB_ANYWHERE constexpr int code_bytes() const { return words * 4 * kWarpLanes; }
  JCB_ANYWHERE constexpr int bytes() const { return code_bytes() + (bits == kRawBits ? 0 : kScalarBytes); }
  JCB_ANYWHERE constexpr int pieces() const { return bytes() / 16; }  // of 16 bytes
  // Where a word of a lane lies in the tile, in bytes.
  JCB_ANYWHERE constexpr int place_of(int word, int lane) const {
    const int whole = words / 4 * 4;
    return word < whole ? (word / 4 * kWarpLanes + lane) * 16 + word % 4 * 4
                        : (whole * kWarpLanes + lane * (words - whole) + word - whole) * 4;
  }
};

// Where the code of a dimension of a tile's token lies: bits shift .. shift + bits - 1 of a lane's word.
struct CodePlace {
  int lane, word, shift;
};

// A lane 4g + t holds of each block the dimensions 4t + j and 16 + 4t + j ("halves" 0 and 1) of the tokens g and g + 8, j =
// 0..3. Of a word, nibble j is token g's and nibble 4 + j token g + 8's, and so the 16 low bits are a selector of
// permute_bytes for four look-ups, once what is not to be looked up is masked:
//   1 bit    a word is two blocks: bit 2 (block % 2) + half of a nibble
//   2 bits   a word is a block: bits 2 half and 2 half + 1
//   4 bits   a word is half a block
// Wider ones fill the registers of multiply_i8 (a block) and of multiply_f16 (half a block), and are not looked up:
//   8 bits   a word is half a block of one token: byte j
//   16 bits  a word is two dimensions of one token, j and j + 1
JCB_ANYWHERE constexpr int word_of_code(int bits, int block, int half) {
  return bits == 1 ? block / 2 : bits == 2 ? block : 2 * block + half;
}
JCB_ANYWHERE constexpr int shift_of_code(int bits, int block, int half) {
  return bits == 1 ? 2 * (block % 2) + half : bits == 2 ? 2 * half : 0;
}
JCB_ANYWHERE constexpr CodePlace place_of_code(int bits, int token, int dimension) {
  const int block = dimension / kBlockDimensions, within = dimension % kBlockDimensions, half = within / 16;
  const int lane = token % 8 * 4 + within / 4 % 4, row = token / 8, j = within % 4;
  if (bits == kByteBits) return {lane, 4 * block + 2 * half + row, 8 * j};
  if (bits == kRawBits) return {lane, 4 * (2 * block + half) + 2 * (j / 2) + row, 16 * (j % 2)};
  return {lane, word_of_code(bits, block, half), 4 * (j + 4 * row) + shift_of_code(bits, block, half)};
}

// The dimension that column k of operand A (row k of B) of multiply_f16 is, in a step of 16: a lane's four values of a row
// are then four dimensions side by side, as in a tile.
JCB_ANYWHERE constexpr int dimension_of_half(int step, int k) { return step * 16 + k % 8 / 2 * 4 + k / 8 * 2 + k % 2; }

// One step of products takes a block of bytes, or half a block of raw values: where the four words of a lane are that
// are its operand A.
JCB_ANYWHERE constexpr int steps_of(int bits, int blocks) { return bits == kRawBits ? 2 * blocks : blocks; }
JCB_ANYWHERE constexpr int place_of_operand(int step, int lane) { return (step * kWarpLanes + lane) * 16; }

// All words of a lane at once, in loads as wide as they can be.
template <int kWords>
JCB_DEVICE void load_words(const char* tile, int lane, uint32_t (&words)[kWords]) {
  constexpr int kWhole = kWords / 4 * 4, kRest = kWords - kWhole;
#pragma unroll
  for (int w = 0; w < kWhole; w += 4) {
    const uint4 four = *reinterpret_cast<const uint4*>(tile + (w / 4 * kWarpLanes + lane) * 16);
    words[w] = four.x, words[w + 1] = four.y, words[w + 2] = four.z, words[w + 3] = four.w;
  }
  const char* const rest = tile + (kWhole * kWarpLanes + lane * kRest) * 4;
  if constexpr (kRest == 2) {
    const uint2 two = *reinterpret_cast<const uint2*>(rest);
    words[kWhole] = two.x, words[kWhole + 1] = two.y;
  } else {
#pragma unroll
    for (int i = 0; i < kRest; ++i) words[kWhole + i] = *reinterpret_cast<const uint32_t*>(rest + 4 * i);
  }
}

}  // namespace jcb::cuda
