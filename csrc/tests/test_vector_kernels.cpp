// Promises of cpu/vector_kernels.h, for every instruction set that can run here. Inputs are small integers wherever sums
// are compared: those are exact in fp32, so that every set must give the very bits of a plain loop.
#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "cpu/panels.h"
#include "cpu/vector_kernels.h"
#include "jcb/centroids.h"
#include "jcb/half.h"
#include "jcb/instruction_set.h"
#include "tests/check.h"

namespace jcb::tests {

const VectorKernels& vector_kernels_wide();
const VectorKernels& vector_kernels_narrow();

namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Set {
  std::string name;
  const VectorKernels& kernels;
};

std::vector<Set> sets_here() {
  std::vector<Set> sets{{"scalar", vector_kernels_scalar()},
                        {"sixteen lanes, emulated", vector_kernels_wide()},
                        {"four lanes in tiles of eight, emulated", vector_kernels_narrow()}};
#if defined(__x86_64__)
  if (supports(InstructionSet::kAvx2)) sets.push_back({"avx2", vector_kernels_avx2()});
  if (supports(InstructionSet::kAvx512)) sets.push_back({"avx512", vector_kernels_avx512()});
#elif defined(__aarch64__)
  if (supports(InstructionSet::kNeon)) sets.push_back({"neon", vector_kernels_neon()});
#endif
  return sets;
}

std::vector<float> small_integers(int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(static_cast<int>(random() % 7) - 3);
  return values;
}

float product(const std::vector<float>& rows, int64_t r, const std::vector<float>& columns, int64_t c, int64_t depth) {
  float sum = 0.0f;
  for (int64_t d = 0; d < depth; ++d) sum += rows[r * depth + d] * columns[c * depth + d];
  return sum;
}

void test_products(const Set& set) {
  for (const int64_t depth : {1, 3, 16, 100}) {
    for (const int64_t rows : {1, 2, 5, 6, 7, 11, 12, 13, 25, 40}) {
      for (const int64_t columns : {1, 7, 8, 15, 16, 17, 31, 32, 33, 70}) {
        const std::vector<float> a = small_integers(rows * depth, 1), b = small_integers(columns * depth, 2);
        const Panels panels(set.kernels, b.data(), columns, depth);
        const int64_t stride = columns + 3;
        std::vector<float> products(rows * stride, 99.0f), best(panels.columns(), kMinusInfinity), best_again = best;
        std::vector<int32_t> winners(panels.columns(), -1);
        set.kernels.inner_products(a.data(), rows, panels.data(), columns, depth, products.data(), stride);
        set.kernels.max_inner_products(a.data(), rows, panels.data(), panels.count(), depth, best.data());
        set.kernels.argmax_inner_products(a.data(), rows, panels.data(), panels.count(), depth, 1000,
                                          best_again.data(), winners.data());
        for (int64_t c = 0; c < columns; ++c) {
          float maximum = kMinusInfinity;
          int32_t winner = -1;
          for (int64_t r = 0; r < rows; ++r) {
            const float expected = product(a, r, b, c, depth);
            JCB_CHECK(products[r * stride + c] == expected, "%s: %g", set.name.c_str(), products[r * stride + c]);
            if (expected > maximum) maximum = expected, winner = static_cast<int32_t>(1000 + r);
          }
          JCB_CHECK(best[c] == maximum && best_again[c] == maximum, "%s: %g", set.name.c_str(), best[c]);
          JCB_CHECK(winners[c] == winner, "%s: %d, not %d", set.name.c_str(), winners[c], winner);
        }
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t c = columns; c < stride; ++c) {
            JCB_CHECK(products[r * stride + c] == 99.0f, "%s writes behind its columns", set.name.c_str());
          }
        }
      }
    }
  }
}

void test_table_rows(const Set& set) {
  constexpr int64_t kRows = 50;
  for (const int64_t columns : {1, 3, 4, 5, 8, 9, 16, 17, 20, 31, 32, 33, 64, 65, 150}) {
    for (const int64_t count : {1, 2, 9, 40}) {
      const int64_t stride = columns + 2;
      std::vector<float> table = small_integers(kRows * stride + kTablePadding, 3);
      std::fill(table.end() - kTablePadding, table.end(), 1e9f);
      std::mt19937 random(4);
      std::vector<uint32_t> ids(count);
      for (uint32_t& id : ids) id = random() % kRows;
      ids[0] = kRows - 1;
      std::vector<float> best(columns, kMinusInfinity);
      set.kernels.max_table_rows(table.data() + 2, stride, ids.data(), count, columns, best.data());
      for (int64_t c = 0; c < columns; ++c) {
        float expected = kMinusInfinity;
        for (const uint32_t id : ids) expected = std::max(expected, table[2 + id * stride + c]);
        JCB_CHECK(best[c] == expected, "%s: %g, not %g", set.name.c_str(), best[c], expected);
      }
    }
  }
}

void test_maximum(const Set& set) {
  for (int64_t count = 0; count < 70; ++count) {
    std::vector<float> values = small_integers(count, 5);
    const float expected = values.empty() ? kMinusInfinity : *std::max_element(values.begin(), values.end());
    JCB_CHECK(set.kernels.maximum(values.data(), count) == expected, "%s", set.name.c_str());
    for (int64_t i = 0; i < count; i += 3) values[i] = kNan;
    float of_numbers = kMinusInfinity;
    for (const float value : values) of_numbers = value > of_numbers ? value : of_numbers;
    JCB_CHECK(set.kernels.maximum(values.data(), count) == of_numbers, "%s, with NaN", set.name.c_str());
  }
}

void test_halves(const Set& set) {
  std::vector<uint16_t> bits(1 << 16);
  for (size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<uint16_t>(i);
  std::vector<float> values(bits.size());
  set.kernels.half_to_float(bits.data(), static_cast<int64_t>(bits.size()), 2.0f, values.data());
  for (size_t i = 0; i < bits.size(); ++i) {
    const int exponent = static_cast<int>(i >> 10 & 31), fraction = static_cast<int>(i & 1023);
    double expected = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    if (exponent == 31) expected = fraction == 0 ? std::numeric_limits<double>::infinity() : kNan;
    if (i >> 15) expected = -expected;
    const bool same = std::isnan(expected) ? std::isnan(values[i]) : values[i] == 2.0 * expected;
    JCB_CHECK(same, "%s: bits %zx give %g", set.name.c_str(), i, values[i]);
    if (!std::isnan(expected)) {
      JCB_CHECK(float_to_half(half_to_float(bits[i])) == bits[i], "bits %zx do not come back", i);
    }
  }
}

void test_codes(const Set& set) {
  std::mt19937 random(6);
  std::normal_distribution<float> gaussian;
  for (const int nbits : {1, 2, 4, 8}) {
    for (const int64_t dim : {1, 7, 16, 48, 100, 128}) {
      std::vector<float> cutoffs((1 << nbits) - 1), levels(1 << nbits);
      for (size_t i = 0; i < levels.size(); ++i) levels[i] = -2.0f + 4.0f * (i + 0.5f) / levels.size();
      for (size_t i = 0; i < cutoffs.size(); ++i) cutoffs[i] = (levels[i] + levels[i + 1]) / 2;
      CodecView codec;
      codec.dim = dim;
      codec.nbits = nbits;
      codec.cutoffs = cutoffs.data();
      codec.levels = levels.data();
      std::vector<float> vector(dim), centroid(dim), residual(dim), decoded(dim);
      for (float& value : vector) value = 3.0f * gaussian(random);
      for (float& value : centroid) value = 0.05f * gaussian(random);
      std::vector<uint8_t> indices(dim), codes(codec.code_bytes(), 0xff), expected_codes = codes;
      uint16_t sigma, norm, expected_sigma, expected_norm;
      const VectorKernels& plain = vector_kernels_scalar();
      set.kernels.quantize(codec, vector.data(), centroid.data(), residual.data(), indices.data(), codes.data(), &sigma,
                           &norm);
      plain.quantize(codec, vector.data(), centroid.data(), residual.data(), indices.data(), expected_codes.data(),
                     &expected_sigma, &expected_norm);
      JCB_CHECK(codes == expected_codes && sigma == expected_sigma && norm == expected_norm, "%s, %d bits, dim %ld",
                set.name.c_str(), nbits, static_cast<long>(dim));
      const float s = half_to_float(sigma), scale = half_to_float(norm);
      set.kernels.dequantize(codec, centroid.data(), codes.data(), s, scale, decoded.data());
      for (int64_t d = 0; d < dim; ++d) {
        const unsigned code = codes[d * nbits / 8] >> (d * nbits % 8) & ((1u << nbits) - 1);
        const double expected = static_cast<double>(scale) * (centroid[d] + static_cast<double>(s) * levels[code]);
        JCB_CHECK(std::abs(decoded[d] - expected) <= 1e-5, "%s: %g, not %g", set.name.c_str(), decoded[d], expected);
      }
    }
  }
}

}  // namespace
}  // namespace jcb::tests

int main() {
  using namespace jcb::tests;
  for (const Set& set : sets_here()) {
    test_products(set);
    test_table_rows(set);
    test_maximum(set);
    test_halves(set);
    test_codes(set);
  }
  return report("vector_kernels");
}
