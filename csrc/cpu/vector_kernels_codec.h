// Halves and codes. Part of vector_kernels_impl.h, which see: no include of its own, compiled once per instruction set.
#pragma once

namespace jcb::JCB_SET {
namespace {

// --------------------------------------------------------------------------------------------------------------- fp16
void half_array_to_float(const uint16_t* bits, int64_t count, float scale, float* values) {
  int64_t i = 0;
#if defined(__F16C__)
  for (; i + 8 <= count; i += 8) {
    const __m256 wide = _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bits + i)));
    _mm256_storeu_ps(values + i, _mm256_mul_ps(wide, _mm256_set1_ps(scale)));
  }
#elif defined(__aarch64__)
  for (; i + 4 <= count; i += 4) {
    const float32x4_t wide = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(bits + i)));
    vst1q_f32(values + i, vmulq_n_f32(wide, scale));
  }
#endif
  for (; i < count; ++i) values[i] = scale * half_to_float(bits[i]);
}

// -------------------------------------------------------------------------------------------------------------- codec
// SIGMA_FACTORS, LEAST_GAIN and SIGN_ROUNDS in jcb_engine/kernels/interface.py.
constexpr float kFactorsOf4Bits[] = {0.75f, 0.8125f, 0.875f, 0.9375f, 1.0f, 1.0625f, 1.125f, 1.1875f};
constexpr float kFactorsOf8Bits[] = {0.8125f, 0.90625f, 1.0f};
constexpr double kLeastGain = 1e-9;
constexpr int kSignRounds = 2;

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

// How well codes fit a residual: sigma = overlap / square has the least error, which it lowers by overlap^2 / square.
struct Fit {
  double overlap;  // <r, levels[codes]>
  double square;   // |levels[codes]|^2
};

Fit fit_of(const CodecView& codec, const float* residual, const uint8_t* indices) {
  constexpr int kDoubles = kLanes / 2;
  Doubles overlaps[2] = {}, squares[2] = {};
  int64_t d = 0;
  for (; d + kLanes <= codec.dim; d += kLanes) {
    float chosen[kLanes];
    for (int k = 0; k < kLanes; ++k) chosen[k] = codec.levels[indices[d + k]];
    for (int half = 0; half < 2; ++half) {
      const Doubles level = load_doubles(chosen + half * kDoubles);
      overlaps[half] += load_doubles(residual + d + half * kDoubles) * level;
      squares[half] += level * level;
    }
  }
  overlaps[0] += overlaps[1];
  squares[0] += squares[1];
  Fit fit = {0.0, 0.0};
  for (int k = 0; k < kDoubles; ++k) {
    fit.overlap += overlaps[0][k];
    fit.square += squares[0][k];
  }
  for (; d < codec.dim; ++d) {
    const double level = codec.levels[indices[d]];
    fit.overlap += residual[d] * level;
    fit.square += level * level;
  }
  return fit;
}

// Codes and sigma of a residual of size `own` = |r| / sqrt(dim) > 0. The codes are chosen for several sigmas around it
// and fitted by least squares: tokens without large components want a finer grid, others a coarser one.
template <int Count>
float fit_codes(const CodecView& codec, const float* residual, float own, const float (&factors)[Count],
                uint8_t* indices) {
  double best_gain = 0.0, sigma = own;
  int best = 0;
  for (int i = 0; i < Count; ++i) {
    assign_codes(codec, residual, factors[i] * own, indices);
    const Fit fit = fit_of(codec, residual, indices);
    if (fit.overlap > 0.0 && fit.overlap * fit.overlap > (1.0 + kLeastGain) * best_gain * fit.square) {
      best_gain = fit.overlap * fit.overlap / fit.square;
      sigma = fit.overlap / fit.square;
      best = i;
    }
  }
  if (best + 1 < Count) assign_codes(codec, residual, factors[best] * own, indices);
  return static_cast<float>(sigma);
}

// target = scale * vector - centroid: with scale = 1 / |vector| the residual.
JCB_INLINE void subtract_centroid(const float* vector, double scale, const float* centroid, int64_t dim,
                                  float* target) {
  for (int64_t d = 0; d < dim; ++d) target[d] = static_cast<float>(vector[d] * scale) - centroid[d];
}

// At 1 bit sigma is the projection that keeps <r, r^> = <r, r>, and signs do not depend on it. A decoded
// vector is scaled to the length of v; the signs are therefore chosen again for what is left of v in units of its own.
float project_codes(const CodecView& codec, const float* vector, double inverse, const float* centroid,
                    double residual_square, float own, float* residual, uint8_t* indices) {
  const int64_t dim = codec.dim;
  float sigma = own;
  assign_codes(codec, residual, own, indices);
  for (int round = 0;; ++round) {
    const double overlap = fit_of(codec, residual, indices).overlap;
    if (overlap <= 0.0) return sigma;
    sigma = static_cast<float>(residual_square / overlap);
    if (round == kSignRounds) return sigma;
    float* decoded = residual;
    for (int64_t d = 0; d < dim; ++d) decoded[d] = centroid[d] + sigma * codec.levels[indices[d]];
    const double square = sum_of_products(decoded, decoded, dim);
    const double product = sum_of_products(vector, decoded, dim);
    if (product <= 0.0) return sigma;
    subtract_centroid(vector, square / product, centroid, dim, residual);
    assign_codes(codec, residual, own, indices);
    subtract_centroid(vector, inverse, centroid, dim, residual);
  }
}

void quantize(const CodecView& codec, const float* vector, const float* centroid, float* residual, uint8_t* indices,
              uint8_t* codes, uint16_t* sigma_bits, uint16_t* norm_bits) {
  const int64_t dim = codec.dim;
  const double length = __builtin_sqrt(sum_of_products(vector, vector, dim));
  const double inverse = length > 0.0 ? 1.0 / length : 0.0;
  subtract_centroid(vector, inverse, centroid, dim, residual);
  const double residual_square = sum_of_products(residual, residual, dim);
  float sigma = half_to_float(float_to_half(static_cast<float>(__builtin_sqrt(residual_square / dim))));
  if (sigma > 0.0f) {
    switch (codec.nbits) {
      case 1:
        sigma = project_codes(codec, vector, inverse, centroid, residual_square, sigma, residual, indices);
        break;
      case 2: assign_codes(codec, residual, sigma, indices); break;
      case 4: sigma = fit_codes(codec, residual, sigma, kFactorsOf4Bits, indices); break;
      default: sigma = fit_codes(codec, residual, sigma, kFactorsOf8Bits, indices); break;
    }
  } else {
    __builtin_memset(indices, 0, dim);
  }
  sigma = half_to_float(*sigma_bits = float_to_half(sigma));
  switch (codec.nbits) {
    case 1: pack_codes<1>(indices, dim, codes); break;
    case 2: pack_codes<2>(indices, dim, codes); break;
    case 4: pack_codes<4>(indices, dim, codes); break;
    default: pack_codes<8>(indices, dim, codes); break;
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

}  // namespace
}  // namespace jcb::JCB_SET
