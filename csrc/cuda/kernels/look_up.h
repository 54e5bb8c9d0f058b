// Codes to bytes: four at a time, by permute_bytes.
#pragma once
#include "cuda/tile_layout.h"

namespace jcb::cuda {

// A byte for each code, 2^bits of them; what is beyond is not read.
struct ByteTable {
  uint32_t words[4];

  JCB_DEVICE explicit ByteTable(const uint32_t* from) : words{from[0], from[1], from[2], from[3]} {}
};

// Two bytes of a word, 128 taken off each, as a pair: 0x64 above a byte is the fp16 number 1024 + byte.
JCB_DEVICE uint32_t halves_of_bytes(uint32_t word, uint32_t selector) {
  return pair_add(permute_bytes(word, 0x64646464, selector), 0xe480e480);  // -1152 twice
}

// The bytes of the eight codes of a word that are `shift` up, first of token g (4), then of token g + 8.
template <int kBits>
JCB_DEVICE void look_up_word(uint32_t word, int shift, const ByteTable& table, uint32_t (&bytes)[2]) {
  if constexpr (kBits < 4) {
    const uint32_t selectors = word >> shift & (kBits == 1 ? 0x11111111 : 0x33333333);
    bytes[0] = permute_bytes(table.words[0], 0, selectors);
    bytes[1] = permute_bytes(table.words[0], 0, selectors >> 16);
  } else {
    // permute_bytes looks up in eight bytes by three bits. The fourth bit of a code chooses between two of these, through
    // its other form: the sign of byte 0 (0x00) or of byte 1 (0x80), eight times.
    const uint32_t selectors = word & 0x77777777, signs = (word >> 3 & 0x11111111) | 0x88888888;
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const uint32_t low = permute_bytes(table.words[0], table.words[1], selectors >> (16 * row));
      const uint32_t high = permute_bytes(table.words[2], table.words[3], selectors >> (16 * row));
      const uint32_t is_high = permute_bytes(0x8000, 0, signs >> (16 * row));
      bytes[row] = (low & ~is_high) | (high & is_high);
    }
  }
}

// The same of a symmetric table, by kept codes (LevelBytes): magnitudes are looked up, and turned where the sign is set.
JCB_DEVICE void look_up_symmetric(uint32_t word, const ByteTable& table, uint32_t (&bytes)[2]) {
  const uint32_t selectors = word & 0x77777777, signs = (word >> 3 & 0x11111111) | 0x88888888;
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    bytes[row] = permute_bytes(table.words[0], table.words[1], selectors >> (16 * row)) ^
                 permute_bytes(0x8000, 0, signs >> (16 * row));
  }
}

}  // namespace jcb::cuda
