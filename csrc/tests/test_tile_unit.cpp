// The emulated tile unit does what the instruction set reference says: results written out here once more, element by element.
#include "cpu/tile_unit_emulated.h"

#include <random>
#include <vector>

#include "tests/check.h"

namespace jcb::maxsim {
namespace {

constexpr int kRows = 16, kRowBytes = 64;

std::vector<uint8_t> random_bytes(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<uint8_t> bytes(count);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

int32_t sum_at(const std::vector<uint8_t>& bytes, int m, int n) {
  int32_t sum;
  std::memcpy(&sum, &bytes[m * kRowBytes + 4 * n], sizeof(sum));
  return sum;
}

// tileloadd, tilestored: row r is at base + r * stride, and nothing between rows is touched.
void test_rows_are_a_stride_apart() {
  for (const int64_t stride : {64, 100, 192}) {
    const std::vector<uint8_t> from = random_bytes(kRows * stride, 1);
    std::vector<uint8_t> to(kRows * stride, 7);
    TileUnit unit;
    unit.load<3>(from.data(), stride);
    unit.store<3>(to.data(), stride);
    for (int64_t i = 0; i < kRows * stride; ++i) {
      const uint8_t expected = i % stride < kRowBytes ? from[i] : 7;
      JCB_CHECK(to[i] == expected, "byte %lld, stride %lld", static_cast<long long>(i), static_cast<long long>(stride));
    }
  }
}

void test_a_stride_of_zero_repeats_a_row() {
  const std::vector<uint8_t> from = random_bytes(kRowBytes, 2);
  std::vector<uint8_t> to(kRows * kRowBytes);
  TileUnit unit;
  unit.load<0>(from.data(), 0);
  unit.store<0>(to.data(), kRowBytes);
  for (int i = 0; i < kRows * kRowBytes; ++i) JCB_CHECK(to[i] == from[i % kRowBytes], "byte %d", i);
}

// tdpbusd: bytes of the second operand without sign, of the third with one; sums wrap.
void test_products_of_bytes() {
  const std::vector<uint8_t> sums = random_bytes(kRows * kRowBytes, 3), weights = random_bytes(kRows * kRowBytes, 4),
                             query = random_bytes(kRows * kRowBytes, 5);
  std::vector<uint8_t> results(kRows * kRowBytes);
  TileUnit unit;
  unit.load<1>(sums.data(), kRowBytes);
  unit.load<2>(weights.data(), kRowBytes);
  unit.load<7>(query.data(), kRowBytes);
  unit.multiply<1, 2, 7>();
  unit.store<1>(results.data(), kRowBytes);
  for (int m = 0; m < kRows; ++m) {
    for (int n = 0; n < 16; ++n) {
      int64_t expected = sum_at(sums, m, n);
      for (int d = 0; d < 64; ++d) {
        expected += weights[m * kRowBytes + d] * int64_t{static_cast<int8_t>(query[d / 4 * kRowBytes + 4 * n + d % 4])};
      }
      JCB_CHECK(sum_at(results, m, n) == static_cast<int32_t>(expected), "row %d, column %d", m, n);
    }
  }
  std::vector<uint8_t> kept(kRows * kRowBytes);
  unit.store<2>(kept.data(), kRowBytes);
  JCB_CHECK(kept == weights, "operands stay as they are");
}

}  // namespace
}  // namespace jcb::maxsim

int main() {
  using namespace jcb::maxsim;
  test_rows_are_a_stride_apart();
  test_a_stride_of_zero_repeats_a_row();
  test_products_of_bytes();
  return jcb::tests::report("tile_unit");
}
