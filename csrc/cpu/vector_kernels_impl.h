// The loops of vector_kernels.h, written once in the compiler's vector types and compiled once per instruction set: each
// vector_kernels_<set>.cpp defines JCB_SET (a namespace) and JCB_LANES (floats per register), and includes this.
//
// Only raw pointers and built-in types here: an inline function of the standard library that is compiled in this file
// could be the copy that the linker keeps for a processor without these instructions.
#include <cstdint>

#include "cpu/vector_kernels.h"
#include "jcb/half.h"

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace jcb::JCB_SET {
namespace {

#define JCB_INLINE inline __attribute__((always_inline))

constexpr int kLanes = JCB_LANES;
constexpr int kPanelWidth = 2 * kLanes;           // two registers: what hides the latency of the broadcast loads
constexpr int kTileRows = JCB_LANES == 16 ? 12 : 6;  // accumulators fill the 32 or 16 registers, bar the operands
constexpr float kMinusInfinity = -__builtin_inff();

typedef float Floats __attribute__((vector_size(4 * JCB_LANES)));
typedef int32_t Integers __attribute__((vector_size(4 * JCB_LANES)));
typedef float HalfFloats __attribute__((vector_size(2 * JCB_LANES)));
typedef double Doubles __attribute__((vector_size(4 * JCB_LANES)));  // one register, half the lanes
typedef uint8_t Bytes __attribute__((vector_size(JCB_LANES)));

JCB_INLINE Floats load(const float* p) {
  Floats v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
JCB_INLINE Integers load(const int32_t* p) {
  Integers v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
JCB_INLINE Doubles load_doubles(const float* p) {
  HalfFloats v;
  __builtin_memcpy(&v, p, sizeof(v));
  return __builtin_convertvector(v, Doubles);
}
JCB_INLINE void store(float* p, Floats v) { __builtin_memcpy(p, &v, sizeof(v)); }
JCB_INLINE void store(int32_t* p, Integers v) { __builtin_memcpy(p, &v, sizeof(v)); }
// Not `+`: adding zero changes a negative zero, so that the compiler would have to do it.
JCB_INLINE Floats splat(float value) { return value - Floats{}; }
// The second operand where one is NaN, as the machine's instruction has it.
JCB_INLINE Floats larger(Floats a, Floats b) { return a > b ? a : b; }

// ---------------------------------------------------------------------------------------------------------- products
void pack_panels(const float* columns, int64_t column_count, int64_t depth, float* panels) {
  for (int64_t first = 0; first < column_count; first += kPanelWidth, panels += depth * kPanelWidth) {
    const int64_t filled = column_count - first < kPanelWidth ? column_count - first : kPanelWidth;
    for (int64_t d = 0; d < depth; ++d) {
      float* row = panels + d * kPanelWidth;
      for (int64_t c = 0; c < filled; ++c) row[c] = columns[(first + c) * depth + d];
      for (int64_t c = filled; c < kPanelWidth; ++c) row[c] = 0.0f;
    }
  }
}

// sums[r] = products of row r with the columns of one panel.
template <int Rows>
JCB_INLINE void multiply_tile(const float* rows, const float* panel, int64_t depth, Floats (&sums)[Rows][2]) {
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r) sums[r][0] = sums[r][1] = Floats{};
#pragma GCC unroll 1
  for (int64_t d = 0; d < depth; ++d) {
    const Floats left = load(panel + d * kPanelWidth), right = load(panel + d * kPanelWidth + kLanes);
#pragma GCC unroll 12
    for (int r = 0; r < Rows; ++r) {
      const Floats value = splat(rows[r * depth + d]);
      sums[r][0] += value * left;
      sums[r][1] += value * right;
    }
  }
}

// Calls tile(first row, sums[Rows][2]) over all rows: whole tiles, then one of what remains.
template <int Rows, class Tile>
JCB_INLINE void multiply_rest(const float* rows, int64_t first, int64_t rest, const float* panel, int64_t depth,
                              const Tile& tile) {
  if constexpr (Rows > 0) {
    if (rest == Rows) {
      Floats sums[Rows][2];
      multiply_tile<Rows>(rows + first * depth, panel, depth, sums);
      tile(first, sums);
    } else {
      multiply_rest<Rows - 1>(rows, first, rest, panel, depth, tile);
    }
  }
}

template <class Tile>
JCB_INLINE void multiply_rows(const float* rows, int64_t row_count, const float* panel, int64_t depth,
                              const Tile& tile) {
  int64_t first = 0;
  for (; first + kTileRows <= row_count; first += kTileRows) {
    Floats sums[kTileRows][2];
    multiply_tile<kTileRows>(rows + first * depth, panel, depth, sums);
    tile(first, sums);
  }
  multiply_rest<kTileRows - 1>(rows, first, row_count - first, panel, depth, tile);
}

void inner_products(const float* rows, int64_t row_count, const float* panels, int64_t column_count, int64_t depth,
                    float* products, int64_t products_stride) {
  for (int64_t column = 0; column < column_count; column += kPanelWidth, panels += depth * kPanelWidth) {
    const int64_t filled = column_count - column;
    multiply_rows(rows, row_count, panels, depth, [&]<int Rows>(int64_t first, const Floats (&sums)[Rows][2]) {
#pragma GCC unroll 12
      for (int r = 0; r < Rows; ++r) {
        float* target = products + (first + r) * products_stride + column;
        if (filled >= kPanelWidth) {
          store(target, sums[r][0]);
          store(target + kLanes, sums[r][1]);
        } else {
          __builtin_memcpy(target, &sums[r][0], 4 * filled);  // sums[r] is kPanelWidth floats
        }
      }
    });
  }
}

void max_inner_products(const float* rows, int64_t row_count, const float* panels, int64_t panel_count, int64_t depth,
                        float* best) {
  for (int64_t p = 0; p < panel_count; ++p, panels += depth * kPanelWidth, best += kPanelWidth) {
    Floats left = load(best), right = load(best + kLanes);
    multiply_rows(rows, row_count, panels, depth, [&]<int Rows>(int64_t, const Floats (&sums)[Rows][2]) {
#pragma GCC unroll 12
      for (int r = 0; r < Rows; ++r) {
        left = larger(sums[r][0], left);
        right = larger(sums[r][1], right);
      }
    });
    store(best, left);
    store(best + kLanes, right);
  }
}

void argmax_inner_products(const float* rows, int64_t row_count, const float* panels, int64_t panel_count,
                           int64_t depth, int32_t first_row, float* best, int32_t* best_rows) {
  for (int64_t p = 0; p < panel_count; ++p, panels += depth * kPanelWidth) {
    multiply_rows(rows, row_count, panels, depth, [&]<int Rows>(int64_t first, const Floats (&sums)[Rows][2]) {
      for (int half = 0; half < 2; ++half) {
        float* best_scores = best + p * kPanelWidth + half * kLanes;
        int32_t* winners = best_rows + p * kPanelWidth + half * kLanes;
        Floats score = load(best_scores);
        Integers winner = load(winners);
#pragma GCC unroll 12
        for (int r = 0; r < Rows; ++r) {
          const Integers better = sums[r][half] > score;
          score = better ? sums[r][half] : score;
          winner = better ? Integers{} + (first_row + static_cast<int32_t>(first) + r) : winner;
        }
        store(best_scores, score);
        store(winners, winner);
      }
    });
  }
}

// ----------------------------------------------------------------------------------------------------------- look-ups
template <int Registers>
JCB_INLINE void max_rows_of_width(const float* table, int64_t stride, const uint32_t* ids, int64_t id_count,
                                  int64_t column_count, float* best) {
  Floats maxima[Registers];
  for (int i = 0; i < Registers; ++i) maxima[i] = splat(kMinusInfinity);
  constexpr int64_t ahead = 8;  // rows that are on their way from the outer caches while one is compared
  for (int64_t i = 0; i < id_count; ++i) {
    const float* row = table + ids[i] * stride;
    if (i + ahead < id_count) {
      const float* later = table + ids[i + ahead] * stride;
      for (int k = 0; k < Registers * kLanes; k += 16) __builtin_prefetch(later + k);
    }
#pragma GCC unroll 4
    for (int k = 0; k < Registers; ++k) maxima[k] = larger(load(row + k * kLanes), maxima[k]);
  }
  float values[Registers * kLanes];
  for (int k = 0; k < Registers; ++k) store(values + k * kLanes, maxima[k]);
  for (int64_t c = 0; c < column_count; ++c) best[c] = values[c] > best[c] ? values[c] : best[c];
}

void max_table_rows(const float* table, int64_t stride, const uint32_t* ids, int64_t id_count, int64_t column_count,
                    float* best) {
  constexpr int kWidest = 4 * kLanes;
  for (int64_t column = 0; column < column_count; column += kWidest) {
    const int64_t columns = column_count - column < kWidest ? column_count - column : kWidest;
    switch ((columns + kLanes - 1) / kLanes) {
      case 1: max_rows_of_width<1>(table + column, stride, ids, id_count, columns, best + column); break;
      case 2: max_rows_of_width<2>(table + column, stride, ids, id_count, columns, best + column); break;
      case 3: max_rows_of_width<3>(table + column, stride, ids, id_count, columns, best + column); break;
      default: max_rows_of_width<4>(table + column, stride, ids, id_count, columns, best + column); break;
    }
  }
}

float maximum(const float* values, int64_t count) {
  Floats lanes = splat(kMinusInfinity);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) lanes = larger(load(values + i), lanes);
  float best = kMinusInfinity;
  for (int k = 0; k < kLanes; ++k) best = lanes[k] > best ? lanes[k] : best;
  for (; i < count; ++i) best = values[i] > best ? values[i] : best;
  return best;
}

void add_scaled(const float* source, int64_t count, float weight, float* target) {
  for (int64_t i = 0; i < count; ++i) target[i] += weight * source[i];
}

// --------------------------------------------------------------------------------------------------------------- fp16
void half_array_to_float(const uint16_t* bits, int64_t count, float scale, float* values) {
  int64_t i = 0;
#if defined(__F16C__)
  for (; i + 8 <= count; i += 8) {
    const __m256 wide = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bits + i)));
    _mm256_storeu_ps(values + i, _mm256_mul_ps(wide, _mm256_set1_ps(scale)));
  }
#endif
  for (; i < count; ++i) values[i] = scale * half_to_float(bits[i]);
}

// -------------------------------------------------------------------------------------------------------------- codec
// In double, because a user's vectors may have any norm that fp32 holds, and its square does not fit there.
JCB_INLINE double sum_of_products(const float* a, const float* b, int64_t count) {
  constexpr int kDoubles = kLanes / 2;
  Doubles lanes[2] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int half = 0; half < 2; ++half) {
      lanes[half] += load_doubles(a + i + half * kDoubles) * load_doubles(b + i + half * kDoubles);
    }
  }
  lanes[0] += lanes[1];
  double sum = 0.0;
  for (int k = 0; k < kDoubles; ++k) sum += lanes[0][k];
  for (; i < count; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

// The number of cutoffs (ascending, 2^nbits - 1 of them) below x, by halving.
JCB_INLINE uint8_t code_of(float x, const float* cutoffs, int nbits) {
  int code = 0;
  for (int step = 1 << (nbits - 1); step > 0; step >>= 1) code += cutoffs[code + step - 1] < x ? step : 0;
  return static_cast<uint8_t>(code);
}

void assign_codes(const CodecView& codec, const float* residual, float sigma, uint8_t* indices) {
  const int cutoff_count = (1 << codec.nbits) - 1;
  int64_t d = 0;
  if (codec.nbits <= 4) {  // comparing with up to 15 cutoffs, many dimensions at once, beats halving
    for (; d + kLanes <= codec.dim; d += kLanes) {
      const Floats x = load(residual + d) / splat(sigma);
      Integers code = {};
      for (int c = 0; c < cutoff_count; ++c) code -= x > splat(codec.cutoffs[c]);  // true is -1
      const Bytes narrow = __builtin_convertvector(code, Bytes);
      __builtin_memcpy(indices + d, &narrow, sizeof(narrow));
    }
  }
  for (; d < codec.dim; ++d) indices[d] = code_of(residual[d] / sigma, codec.cutoffs, codec.nbits);
}

template <int Bits>
JCB_INLINE void pack_codes(const uint8_t* indices, int64_t dim, uint8_t* codes) {
  constexpr int kPerByte = 8 / Bits;
  const int64_t whole = dim / kPerByte;
  for (int64_t b = 0; b < whole; ++b) {
    unsigned byte = 0;
    for (int j = 0; j < kPerByte; ++j) byte |= static_cast<unsigned>(indices[b * kPerByte + j]) << (j * Bits);
    codes[b] = static_cast<uint8_t>(byte);
  }
  if (whole * kPerByte < dim) {
    unsigned byte = 0;
    for (int j = 0; whole * kPerByte + j < dim; ++j) {
      byte |= static_cast<unsigned>(indices[whole * kPerByte + j]) << (j * Bits);
    }
    codes[whole] = static_cast<uint8_t>(byte);
  }
}

void quantize(const CodecView& codec, const float* vector, const float* centroid, float* residual, uint8_t* indices,
              uint8_t* codes, uint16_t* sigma_bits, uint16_t* norm_bits) {
  const int64_t dim = codec.dim;
  const double length = __builtin_sqrt(sum_of_products(vector, vector, dim));
  const double inverse = length > 0.0 ? 1.0 / length : 0.0;
  for (int64_t d = 0; d < dim; ++d) residual[d] = static_cast<float>(vector[d] * inverse) - centroid[d];
  const double residual_square = sum_of_products(residual, residual, dim);
  float sigma = half_to_float(*sigma_bits = float_to_half(static_cast<float>(__builtin_sqrt(residual_square / dim))));
  if (sigma > 0.0f) {
    assign_codes(codec, residual, sigma, indices);
  } else {
    __builtin_memset(indices, 0, dim);
  }
  switch (codec.nbits) {
    case 1: pack_codes<1>(indices, dim, codes); break;
    case 2: pack_codes<2>(indices, dim, codes); break;
    case 4: pack_codes<4>(indices, dim, codes); break;
    default: pack_codes<8>(indices, dim, codes); break;
  }
  if (codec.nbits == 1 && sigma > 0.0f) {
    double overlap = 0.0;
    for (int64_t d = 0; d < dim; ++d) overlap += static_cast<double>(residual[d]) * codec.levels[indices[d]];
    if (overlap > 0.0) {
      sigma = half_to_float(*sigma_bits = float_to_half(static_cast<float>(residual_square / overlap)));
    }
  }
  float* decoded = residual;  // the residual has served
  for (int64_t d = 0; d < dim; ++d) decoded[d] = centroid[d] + sigma * codec.levels[indices[d]];
  const double decoded_length = __builtin_sqrt(sum_of_products(decoded, decoded, dim));
  const double norm = decoded_length > 0.0 ? length / (codec.norm_scale * decoded_length) : 0.0;
  *norm_bits = float_to_half(static_cast<float>(norm));
}

template <int Bits>
JCB_INLINE void decode(const CodecView& codec, const float* centroid, const uint8_t* codes, float sigma, float scale,
                       float* vector) {
  constexpr int kPerByte = 8 / Bits;
  constexpr unsigned kMask = (1u << Bits) - 1;
  const int64_t whole = codec.dim / kPerByte;
  for (int64_t b = 0; b < whole; ++b) {
    for (int j = 0; j < kPerByte; ++j) {
      const int64_t d = b * kPerByte + j;
      vector[d] = scale * (centroid[d] + sigma * codec.levels[codes[b] >> (j * Bits) & kMask]);
    }
  }
  for (int64_t d = whole * kPerByte; d < codec.dim; ++d) {
    const unsigned code = codes[whole] >> ((d - whole * kPerByte) * Bits) & kMask;
    vector[d] = scale * (centroid[d] + sigma * codec.levels[code]);
  }
}

void dequantize(const CodecView& codec, const float* centroid, const uint8_t* codes, float sigma, float scale,
                float* vector) {
  switch (codec.nbits) {
    case 1: decode<1>(codec, centroid, codes, sigma, scale, vector); break;
    case 2: decode<2>(codec, centroid, codes, sigma, scale, vector); break;
    case 4: decode<4>(codec, centroid, codes, sigma, scale, vector); break;
    default: decode<8>(codec, centroid, codes, sigma, scale, vector); break;
  }
}

constexpr VectorKernels kKernels = {
    kPanelWidth,    pack_panels, inner_products,      max_inner_products, argmax_inner_products,
    max_table_rows, maximum,     half_array_to_float, add_scaled,         quantize,
    dequantize,
};

}  // namespace
}  // namespace jcb::JCB_SET
