// Query vectors -> the operands of the products with codes (i8) and with centroids (fp16).
//
// A token's step is such that no centroid score exceeds 127 of them: |q| * span / 127, with span >= the longest centroid.
// Residual products come in the same steps through one factor for all tokens of a piece, so that it need not be looked up:
// q = step * ratio * integer, with the least ratio for which every integer stays within 127.
#pragma once
#include "cuda/query_layout.h"

namespace jcb::cuda {

constexpr int kPrepareThreads = 512;  // of few blocks: their waiting is what counts

struct PrepareQueries {
  const float* vectors;  // [tokens of the call, dim]
  const Piece* pieces;
  uint2* bytes;  // the outputs: see Queries
  uint2* halves;
  float* columns;
  float* steps;
  float* units;
  int32_t* biases;
  int dim, blocks;
  float span, norm_scale;
  float level_unit;  // a level is so many times its integer
};

// The sums of multiply_i8 are turned into floats by their bits (maxsim_fast.h), and a product with the unit has to be
// exact there: it keeps 22 bits.
JCB_DEVICE float unit_with_short_mantissa(float unit) { return float_of_bits(bits_of_float(unit) & 0xfffffffcu); }

JCB_DEVICE uint32_t byte_of(float value, float inverse) {
  const float rounded = rintf(value * inverse);
  return static_cast<uint32_t>(static_cast<int>(fminf(fmaxf(rounded, -127.0f), 127.0f))) & 255;
}

// One block a piece; its shared memory holds 64 floats.
JCB_KERNEL(kPrepareThreads, 2) prepare_queries(PrepareQueries given) {
  float* const inverse_steps = reinterpret_cast<float*>(dynamic_shared());
  float* const ratios = inverse_steps + kColumns;
  const int lane = threadIdx.x % kWarpLanes, warp = threadIdx.x / kWarpLanes, warps = kPrepareThreads / kWarpLanes;
  const Piece piece = given.pieces[blockIdx.x];
  const float* const vectors = given.vectors + static_cast<size_t>(piece.first_token) * given.dim;

  for (int token = warp; token < kColumns; token += warps) {
    float square = 0.0f, largest = 0.0f;
    if (token < static_cast<int>(piece.tokens)) {
      for (int d = lane; d < given.dim; d += kWarpLanes) {
        largest = fmaxf(largest, fabsf(vectors[static_cast<size_t>(token) * given.dim + d]));
      }
    }
    for (int bits = 1; bits < kWarpLanes; bits *= 2) largest = fmaxf(largest, shuffle_xor(largest, bits));
    if (largest > 0.0f) {  // squares of parts of the largest: of very long and very short vectors, others leave a float
      for (int d = lane; d < given.dim; d += kWarpLanes) {
        const float part = vectors[static_cast<size_t>(token) * given.dim + d] / largest;
        square += part * part;
      }
    }
    for (int bits = 1; bits < kWarpLanes; bits *= 2) square += shuffle_xor(square, bits);
    // Longer than the vector, whatever was rounded.
    const float length = fmaxf(sqrtf(square) * 1.00001f, 1.0f) * largest;
    const float step = length * given.span / 127.0f;
    if (lane == 0) {
      inverse_steps[token] = step > 0.0f ? 1.0f / step : 0.0f;
      ratios[token] = step > 0.0f ? largest / 127.0f / step : 0.0f;
      given.steps[blockIdx.x * kColumns + token] = step * given.norm_scale;
    }
  }
  block_barrier();
  float ratio = ratios[lane];
  for (int bits = 1; bits < kWarpLanes; bits *= 2) ratio = fmaxf(ratio, shuffle_xor(ratio, bits));
  const float unit = unit_with_short_mantissa(ratio * given.level_unit);
  // From the unit, not from the ratio: what was cut off the unit is then no error of the products.
  const float inverse_ratio = ratio > 0.0f ? given.level_unit / unit : 0.0f;
  if (threadIdx.x == 0) given.units[blockIdx.x] = unit;

  const auto value = [&](int token, int dimension) {  // in steps
    if (token >= static_cast<int>(piece.tokens) || dimension >= given.dim) return 0.0f;
    return vectors[static_cast<size_t>(token) * given.dim + dimension] * inverse_steps[token];
  };
  for (int token = warp; given.biases != nullptr && token < kColumns; token += warps) {
    int32_t sum = 0;
    for (int d = lane; d < given.dim; d += kWarpLanes) sum += static_cast<int8_t>(byte_of(value(token, d), inverse_ratio));
    for (int bits = 1; bits < kWarpLanes; bits *= 2) sum += shuffle_xor(sum, bits);
    if (lane == 0) given.biases[blockIdx.x * kColumns + token] = sum >> 1;
  }
  const int byte_operands = given.blocks * kColumnTiles * kWarpLanes;
  for (int i = threadIdx.x; i < byte_operands; i += kPrepareThreads) {
    const int of = i % kWarpLanes, token = token_of_column(i / kWarpLanes % kColumnTiles, of / 4);
    const int first = i / (kWarpLanes * kColumnTiles) * kBlockDimensions + of % 4 * 4;
    uint32_t words[2] = {};
    for (int j = 0; j < 8; ++j) {
      words[j / 4] |= byte_of(value(token, first + j % 4 + j / 4 * 16), inverse_ratio) << (j % 4 * 8);
    }
    given.bytes[static_cast<size_t>(blockIdx.x) * byte_operands + i] = {words[0], words[1]};
  }
  for (int i = threadIdx.x; i < 2 * byte_operands; i += kPrepareThreads) {
    const int of = i % kWarpLanes, token = token_of_column(i / kWarpLanes % kColumnTiles, of / 4);
    const int first = dimension_of_half(i / (kWarpLanes * kColumnTiles), of % 4 * 2);
    given.halves[static_cast<size_t>(blockIdx.x) * 2 * byte_operands + i] = {
        pair_of(value(token, first), value(token, first + 1)),
        pair_of(value(token, first + 2), value(token, first + 3))};
  }
  const int dimensions = given.blocks * kBlockDimensions;
  for (int d = warp; d < dimensions; d += warps) {
    const bool there = d < given.dim && lane < static_cast<int>(piece.tokens);
    given.columns[(static_cast<size_t>(blockIdx.x) * dimensions + d) * kColumns + lane] =
        there ? vectors[static_cast<size_t>(lane) * given.dim + d] : 0.0f;
  }
}

}  // namespace jcb::cuda
