// The emulated tile unit does what the instruction set reference says, and the processor's does the same where it has one:
// results are written out here once more, element by element.
#include <random>
#include <vector>

#define TileUnit EmulatedTileUnit
#include "cpu/tile_unit_emulated.h"
#undef TileUnit
#if defined(JCB_HAVE_AMX)
#define TileUnit NativeTileUnit
#include "cpu/tile_unit.h"
#undef TileUnit
#endif

#include "jcb/instruction_set.h"
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
template <class TileUnit>
void test_rows_are_a_stride_apart() {
  for (const int64_t stride : {64, 100, 192}) {
    const std::vector<uint8_t> from = random_bytes(kRows * stride, 1);
    std::vector<uint8_t> to(kRows * stride, 7);
    TileUnit unit;
    unit.template load<3>(from.data(), stride);
    unit.template store<3>(to.data(), stride);
    for (int64_t i = 0; i < kRows * stride; ++i) {
      const uint8_t expected = i % stride < kRowBytes ? from[i] : 7;
      JCB_CHECK(to[i] == expected, "byte %lld, stride %lld", static_cast<long long>(i), static_cast<long long>(stride));
    }
  }
}

template <class TileUnit>
void test_a_stride_of_zero_repeats_a_row() {
  const std::vector<uint8_t> from = random_bytes(kRowBytes, 2);
  std::vector<uint8_t> to(kRows * kRowBytes);
  TileUnit unit;
  unit.template load<0>(from.data(), 0);
  unit.template store<0>(to.data(), kRowBytes);
  for (int i = 0; i < kRows * kRowBytes; ++i) JCB_CHECK(to[i] == from[i % kRowBytes], "byte %d", i);
}

// tdpbusd: bytes of the second operand without sign, of the third with one; sums wrap.
template <class TileUnit>
void test_products_of_bytes() {
  const std::vector<uint8_t> sums = random_bytes(kRows * kRowBytes, 3), weights = random_bytes(kRows * kRowBytes, 4),
                             query = random_bytes(kRows * kRowBytes, 5);
  std::vector<uint8_t> results(kRows * kRowBytes);
  TileUnit unit;
  unit.template load<1>(sums.data(), kRowBytes);
  unit.template load<2>(weights.data(), kRowBytes);
  unit.template load<7>(query.data(), kRowBytes);
  unit.template multiply<1, 2, 7>();
  unit.template store<1>(results.data(), kRowBytes);
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
  unit.template store<2>(kept.data(), kRowBytes);
  JCB_CHECK(kept == weights, "operands stay as they are");
}

template <class TileUnit>
void test_all() {
  test_rows_are_a_stride_apart<TileUnit>();
  test_a_stride_of_zero_repeats_a_row<TileUnit>();
  test_products_of_bytes<TileUnit>();
}

}  // namespace
}  // namespace jcb::maxsim

int main() {
  using namespace jcb::maxsim;
  test_all<EmulatedTileUnit>();
#if defined(JCB_HAVE_AMX)
  if (jcb::supports(jcb::InstructionSet::kAmx)) {
    test_all<NativeTileUnit>();
  } else {
    std::printf("amx skipped: this processor has no AMX with INT8, or the system does not grant it\n");
  }
#endif
  return jcb::tests::report("tile_unit");
}
