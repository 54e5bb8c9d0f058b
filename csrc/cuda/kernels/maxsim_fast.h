// Fused decompression and MaxSim in small integers: for finding documents, which are then scored exactly.
//
// A warp scores whole documents of one piece's list, so there is no block barrier and no atomic, and the same input gives
// the same bits. Levels are integers, looked up four at a time by permute_bytes straight into the operand of
// multiply_i8: of 8 bits they lie in the tile as that operand. The other operand, the query, stays in registers.
// Centroid scores are 32 bytes a token, in steps of the query tokens. What limits one query on a large GPU is memory:
// tiles from HBM, rows of centroid scores from the L2 cache.
#pragma once
#include "cuda/kernels/look_up.h"
#include "cuda/kernels/work.h"
#include "cuda/query_layout.h"

namespace jcb::cuda {

constexpr int kFastWarps = 4, kFastThreads = kFastWarps * kWarpLanes;
constexpr uint32_t kMagicBits = 0x4b400000;     // of 3 * 2^22: counted up from there, an integer below 2^22 is ...
constexpr float kMagic = 12582912.0f;           // ... the float kMagic + integer, without a conversion
constexpr int kMostBlocksByMagic = 8;           // 8 * 32 products of 127 * 127.5 are below 2^22
constexpr uint32_t kMinusInfinityTwice = 0xfc00fc00;

// Codes of a block of 32 dimensions as operand A: registers 0 and 2 are a token, 1 and 3 the one 8 below.
template <int kBits, bool kSymmetric, class Words>
JCB_DEVICE void look_up_block(const Words& words, int block, const ByteTable& levels, uint32_t (&a)[4]) {
  if constexpr (kBits == kByteBits) {
    words.read(block, a);
  } else {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      uint32_t bytes[2];
      const uint32_t word = words.at(word_of_code(kBits, block, half));
      if constexpr (kSymmetric) {
        look_up_symmetric(word, levels, bytes);
      } else {
        look_up_word<kBits>(word, shift_of_code(kBits, block, half), levels, bytes);
      }
      a[2 * half] = bytes[0];
      a[2 * half + 1] = bytes[1];
    }
  }
}

// What is known of a tile when the kernel is compiled, here and in maxsim_raw.h. kBlocks: blocks of 32 dimensions; 0
// for any number. A step is what one product takes: a block of bytes, half a block of raw values.
template <int kCodeBits, int kBlocks>
struct FastShape {
  static constexpr int kBits = kCodeBits;
  static constexpr int kStages = kBits < kByteBits ? 4 : 3;  // tiles of a warp's ring; large ones keep memory as busy
  static constexpr bool kQueryInRegisters = true;
  static constexpr bool kByMagic = kBlocks <= kMostBlocksByMagic;
  static constexpr TileShape kTile{kBits, kBlocks};

  JCB_DEVICE explicit FastShape(int) {}
  JCB_DEVICE static constexpr int blocks() { return kBlocks; }
  JCB_DEVICE static constexpr int steps() { return steps_of(kBits, kBlocks); }
  JCB_DEVICE static constexpr int bytes() { return kTile.bytes(); }
  JCB_DEVICE static constexpr int pieces() { return kTile.pieces(); }
  JCB_DEVICE static constexpr int code_bytes() { return kTile.code_bytes(); }
};
template <int kCodeBits>
struct FastShape<kCodeBits, 0> {
  static constexpr int kBits = kCodeBits;
  // Of 1,024 dimensions at 4 bits more would not fit 100 KB, which every GPU has. Wider codes need no ring: they are
  // operands as they lie in memory.
  static constexpr int kStages = kBits < kByteBits ? 2 : 0;
  static constexpr bool kQueryInRegisters = false;
  static constexpr bool kByMagic = false;
  const TileShape tile;

  JCB_DEVICE explicit FastShape(int blocks) : tile(kBits, blocks) {}
  JCB_DEVICE int blocks() const { return tile.blocks; }
  JCB_DEVICE int steps() const { return steps_of(kBits, tile.blocks); }
  JCB_DEVICE int bytes() const { return tile.bytes(); }
  JCB_DEVICE int pieces() const { return tile.pieces(); }
  JCB_DEVICE int code_bytes() const { return tile.code_bytes(); }
};

// The ring of one warp: tiles of the items first .. last - 1, copied kStages - 1 ahead of their use.
template <class Shape>
struct TileRing {
  const Work& work;
  const Shape& shape;
  char* const slots;
  const int lane;
  uint32_t item, last, left = 0;  // the next item to copy, and how many tiles of the one before are still to come
  const char* source;
  int fill = 0, drain = 0;

  JCB_DEVICE int after(int slot) const { return slot == (Shape::kStages - 1) * shape.bytes() ? 0 : slot + shape.bytes(); }
  JCB_DEVICE void fetch() {
    while (left == 0 && item < last) {
      left = tiles_of(work, item);
      source = work.tiles + work.first_tiles[item] * shape.bytes();
      ++item;
    }
    const bool wanted = left != 0;
#pragma unroll
    for (int i = 0; i < (shape.pieces() + kWarpLanes - 1) / kWarpLanes; ++i) {
      const int at = i * kWarpLanes + lane;
      copy_16_if(wanted && at < shape.pieces(), slots + fill + at * 16, source + at * 16);
    }
    close_copies();
    source += wanted ? shape.bytes() : 0;
    left -= wanted;
    fill = after(fill);
  }
  // The next tile, for every lane. Nobody reads the one before it any more.
  JCB_DEVICE const char* next() {
    wait_for_copies<Shape::kStages - 2>();
    warp_barrier();
    const char* const tile = slots + drain;
    drain = after(drain);
    return tile;
  }
};

// No ring: tiles where they lie.
template <int kBits>
  requires(kBits >= kByteBits)
struct TileRing<FastShape<kBits, 0>> {
  const Work& work;
  const FastShape<kBits, 0>& shape;
  char* const slots;
  const int lane;
  uint32_t item, last, left = 0;  // the next item, and how many tiles of the one before are still to come
  const char* source;

  JCB_DEVICE void fetch() {}
  JCB_DEVICE const char* next() {
    while (left == 0 && item < last) {
      left = tiles_of(work, item);
      source = work.tiles + work.first_tiles[item] * shape.bytes();
      ++item;
    }
    const char* const tile = source;
    source += shape.bytes();
    --left;
    return tile;
  }
};

// The operands of a piece: in registers, or in shared memory that the block fills.
template <class Shape>
struct FastQuery {
  uint2 operands[Shape::steps() * kColumnTiles];

  JCB_DEVICE FastQuery(const uint2* from, char*, const Shape&) {
#pragma unroll
    for (int i = 0; i < Shape::steps() * kColumnTiles; ++i) {
      operands[i] = from[i * kWarpLanes + threadIdx.x % kWarpLanes];
    }
  }
  JCB_DEVICE const uint2& at(int step, int n) const { return operands[step * kColumnTiles + n]; }
};
template <int kBits>
struct FastQuery<FastShape<kBits, 0>> {
  const uint2* own;

  JCB_DEVICE FastQuery(const uint2* from, char* shared, const FastShape<kBits, 0>& shape)
      : own(reinterpret_cast<const uint2*>(shared) + threadIdx.x % kWarpLanes) {
    for (int i = threadIdx.x; i < shape.steps() * kColumnTiles * kWarpLanes; i += kFastThreads) {
      reinterpret_cast<uint2*>(shared)[i] = from[i];
    }
    block_barrier();
  }
  JCB_DEVICE const uint2& at(int step, int n) const { return own[(step * kColumnTiles + n) * kWarpLanes]; }
};

// A tile's codes: in registers at once, word by word, or operand by operand.
template <class Shape>
struct TileWords {
  uint32_t words[Shape::kTile.words];

  JCB_DEVICE TileWords(const char* tile, int lane, const Shape&) { load_words(tile, lane, words); }
  JCB_DEVICE uint32_t at(int word) const { return words[word]; }
};
template <int kBits>
  requires(kBits < kByteBits)
struct TileWords<FastShape<kBits, 0>> {
  const char* tile;
  const int lane;
  const FastShape<kBits, 0>& shape;

  JCB_DEVICE TileWords(const char* tile, int lane, const FastShape<kBits, 0>& shape)
      : tile(tile), lane(lane), shape(shape) {}
  JCB_DEVICE uint32_t at(int word) const {
    return *reinterpret_cast<const uint32_t*>(tile + shape.tile.place_of(word, lane));
  }
};

template <int kBits, int kBlocks>
  requires(kBits >= kByteBits)
struct TileWords<FastShape<kBits, kBlocks>> {
  const char* tile;
  const int lane;

  JCB_DEVICE TileWords(const char* tile, int lane, const FastShape<kBits, kBlocks>&) : tile(tile), lane(lane) {}
  JCB_DEVICE void read(int step, uint32_t (&a)[4]) const {
    const uint4* const from = reinterpret_cast<const uint4*>(tile + place_of_operand(step, lane));
    uint4 four;
    if constexpr (kBlocks == 0) {
      four = load_once(from);
    } else {
      four = *from;
    }
    a[0] = four.x, a[1] = four.y, a[2] = four.z, a[3] = four.w;
  }
};

constexpr size_t fast_query_bytes(const TileShape& tile) {
  return static_cast<size_t>(steps_of(tile.bits, tile.blocks)) * kColumnTiles * kWarpLanes * sizeof(uint2);
}
template <class Shape>
constexpr size_t fast_shared_bytes(const TileShape& tile) {
  return static_cast<size_t>(kFastWarps) * Shape::kStages * tile.bytes() +
         (Shape::kQueryInRegisters ? 0 : fast_query_bytes(tile));
}

// Where the products of a lane's eight tokens begin.
template <class Shape, bool kSymmetric>
struct FirstSums {
  static constexpr int32_t kFirst = Shape::kByMagic ? static_cast<int32_t>(kMagicBits) : 0;

  JCB_DEVICE FirstSums(const int32_t*, uint32_t) {}
  JCB_DEVICE int32_t of(int) const { return kFirst; }
};
template <class Shape>
struct FirstSums<Shape, true> {
  int32_t sums[8];

  JCB_DEVICE FirstSums(const int32_t* biases, uint32_t first) {
#pragma unroll
    for (int i = 0; i < 8; ++i) sums[i] = FirstSums<Shape, false>::kFirst + biases[first + i];
  }
  JCB_DEVICE int32_t of(int token) const { return sums[token]; }
};

template <int kBits, int kBlocks, bool kSymmetric>
JCB_KERNEL(kFastThreads, 4) maxsim_fast(Work work, Queries queries, const uint32_t* __restrict__ level_bytes,
                                        int any_blocks, float* __restrict__ partial_scores) {
  using Shape = FastShape<kBits, kBlocks>;
  const Shape shape(any_blocks);
  const int lane = threadIdx.x % kWarpLanes, warp = threadIdx.x / kWarpLanes, member = lane % 4;
  const uint32_t blocks_a_piece = gridDim.x / queries.piece_count;
  const uint32_t piece_number = blockIdx.x / blocks_a_piece;
  const Piece piece = queries.pieces[piece_number];
  const ByteTable levels(level_bytes);

  char* const rings = dynamic_shared();
  const FastQuery<Shape> query(
      queries.bytes + static_cast<size_t>(piece_number) * shape.blocks() * kColumnTiles * kWarpLanes,
      rings + kFastWarps * Shape::kStages * shape.bytes(), shape);
  const uint2* const scores = reinterpret_cast<const uint2*>(queries.scores) +
                              static_cast<size_t>(piece_number) * queries.centroid_rows * 4 + member;
  const float unit = queries.units[piece_number];
  const FirstSums<Shape, kSymmetric> first_sums(queries.biases, piece_number * kColumns + member * 8);
  const Share share = share_of(work, piece, (blockIdx.x % blocks_a_piece) * kFastWarps + warp,
                               blocks_a_piece * kFastWarps);
  TileRing<Shape> ring{work, shape, rings + warp * Shape::kStages * shape.bytes(), lane, share.first, share.last, 0, work.tiles};
  for (int i = 0; i < Shape::kStages - 1; ++i) ring.fetch();

  for (uint32_t item = share.first; item < share.last; ++item) {
    const uint32_t tiles = tiles_of(work, item);
    uint32_t maxima[kColumnTiles];  // pair n: the tokens 8t + 2n and 8t + 2n + 1
#pragma unroll
    for (uint32_t& pair : maxima) pair = kMinusInfinityTwice;
    for (uint32_t i = 0; i < tiles; ++i) {
      const char* const tile = ring.next();
      const TileWords<Shape> words(tile, lane, shape);
      const uint4 rows = *reinterpret_cast<const uint4*>(tile + shape.code_bytes() + lane / 4 * 16);
      ring.fetch();
      // Needed after the last product only, which hides how long they take.
      const uint2 row_scores[2] = {scores[rows.x * 4], scores[rows.z * 4]};
      const uint32_t scalars[2] = {rows.y, rows.w};

      int32_t sums[kColumnTiles][4];
#pragma unroll
      for (int n = 0; n < kColumnTiles; ++n) {
        for (int i = 0; i < 4; ++i) sums[n][i] = first_sums.of(2 * n + i % 2);
      }
#pragma unroll
      for (int block = 0; block < shape.blocks(); ++block) {
        uint32_t a[4];
        look_up_block<kBits, kSymmetric>(words, block, levels, a);
#pragma unroll
        for (int n = 0; n < kColumnTiles; ++n) multiply_i8(sums[n], a, query.at(block, n).x, query.at(block, n).y);
      }
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        const uint32_t norm = low_twice(scalars[row]), scale = pair_multiply(norm, high_twice(scalars[row]));
        const uint32_t centroid[kColumnTiles] = {
            halves_of_bytes(row_scores[row].x, 0x4140), halves_of_bytes(row_scores[row].x, 0x4342),
            halves_of_bytes(row_scores[row].y, 0x4140), halves_of_bytes(row_scores[row].y, 0x4342)};
#pragma unroll
        for (int n = 0; n < kColumnTiles; ++n) {
          const auto product = [&](int column) {
            const int32_t sum = sums[n][2 * row + column];
            return Shape::kByMagic ? fmaf(float_of_bits(sum), unit, -kMagic * unit) : static_cast<float>(sum) * unit;
          };
          maxima[n] = pair_maximum(
              maxima[n], pair_fma(pair_of(product(0), product(1)), scale, pair_multiply(centroid[n], norm)));
        }
      }
    }
#pragma unroll
    for (int bits = 4; bits < kWarpLanes; bits *= 2) {
#pragma unroll
      for (uint32_t& pair : maxima) pair = pair_maximum(pair, shuffle_xor(pair, bits));
    }
    float sum = 0.0f;  // of this lane's 8 tokens; the four lanes of a group hold all 32
    const float* const steps = queries.steps + piece_number * kColumns + member * 8;
#pragma unroll
    for (int n = 0; n < kColumnTiles; ++n) {
      sum = fmaf(low_of(maxima[n]), steps[2 * n], sum);
      sum = fmaf(high_of(maxima[n]), steps[2 * n + 1], sum);
    }
    sum += shuffle_xor(sum, 1);
    sum += shuffle_xor(sum, 2);
    if (lane == 0) partial_scores[piece.output + (item - piece.first_item)] = tiles == 0 ? kMinusInfinity : sum;
  }
}

}  // namespace jcb::cuda
