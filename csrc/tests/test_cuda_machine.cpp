// The emulated machine operations (cuda/emulation), each by itself against what the PTX ISA says of it, in the words of
// that text and not through the tables of the emulation; and what the emulation has to notice.
#include "cuda/machine.h"

#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <set>
#include <vector>

#include "tests/check.h"

namespace jcb::tests {
namespace {

namespace emulation = cuda::emulation;

// One warp; every lane writes what it has to say into its own place.
template <class Result>
std::array<Result, 32> of_warp(const std::function<Result(int)>& kernel, uint32_t seed = 0, size_t shared = 0) {
  std::array<Result, 32> results{};
  emulation::launch(1, 32, shared, seed, [&] { results[threadIdx.x] = kernel(static_cast<int>(threadIdx.x)); });
  return results;
}

uint16_t half_bits(double value) { return static_cast<uint16_t>(cuda::pair_of(static_cast<float>(value), 0.0f)); }
uint32_t word_of(uint16_t low, uint16_t high) { return low | static_cast<uint32_t>(high) << 16; }

struct Quad {
  float c[4];
};
struct IntegerQuad {
  int32_t c[4];
};

// PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type":
//   groupID = %laneid >> 2, threadID_in_group = %laneid % 4
//   A: row = groupID for ai where 0 <= i < 2 || 4 <= i < 6, groupID + 8 otherwise
//      col = (threadID_in_group * 2) + (i & 0x1) for ai where i < 4, (threadID_in_group * 2) + (i & 0x1) + 8 for i >= 4
//   B: row = (threadID_in_group * 2) + (i & 0x1) for bi where i < 2, + 8 for i >= 2;  col = groupID
//   C: row = groupID for ci where i < 2, groupID + 8 for i >= 2;  col = (threadID_in_group * 2) + (i & 0x1)
void test_multiply_f16() {
  std::mt19937 random(1);
  const auto value = [&] { return static_cast<double>(static_cast<int>(random() % 65) - 32) / 8; };  // exact in fp16
  double a[16][16], b[16][8], c[16][8];
  for (auto& row : a) for (double& x : row) x = value();
  for (auto& row : b) for (double& x : row) x = value();
  for (auto& row : c) for (double& x : row) x = value();
  const auto results = of_warp<Quad>([&](int lane) {
    const int group = lane >> 2, member = lane % 4;
    uint16_t own_a[8], own_b[4];
    Quad own;
    for (int i = 0; i < 8; ++i) {
      const int row = (0 <= i && i < 2) || (4 <= i && i < 6) ? group : group + 8;
      const int column = i < 4 ? member * 2 + (i & 1) : member * 2 + (i & 1) + 8;
      own_a[i] = half_bits(a[row][column]);
    }
    for (int i = 0; i < 4; ++i) own_b[i] = half_bits(b[i < 2 ? member * 2 + (i & 1) : member * 2 + (i & 1) + 8][group]);
    for (int i = 0; i < 4; ++i) own.c[i] = static_cast<float>(c[i < 2 ? group : group + 8][member * 2 + (i & 1)]);
    uint32_t registers[4];
    for (int r = 0; r < 4; ++r) registers[r] = word_of(own_a[2 * r], own_a[2 * r + 1]);
    cuda::multiply_f16(own.c, registers, word_of(own_b[0], own_b[1]), word_of(own_b[2], own_b[3]));
    return own;
  });
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = i < 2 ? lane / 4 : lane / 4 + 8, column = lane % 4 * 2 + (i & 1);
      double expected = c[row][column];
      for (int k = 0; k < 16; ++k) expected += a[row][k] * b[k][column];
      JCB_CHECK(results[lane].c[i] == expected, "lane %d, c%d: %f, %f", lane, i, results[lane].c[i], expected);
    }
  }
}

// PTX ISA, "Matrix Fragments for mma.m16n8k32" of .s8:
//   A: row = groupID for ai where 0 <= i < 4 || 8 <= i < 12, groupID + 8 otherwise
//      col = (threadID_in_group * 4) + (i & 0x3) for ai where i < 8, + 16 for i >= 8
//   B: row = (threadID_in_group * 4) + (i & 0x3) for bi where i < 4, + 16 for i >= 4;  col = groupID
void test_multiply_i8() {
  std::mt19937 random(2);
  int a[16][32], b[32][8], c[16][8];
  for (auto& row : a) for (int& x : row) x = static_cast<int>(random() % 256) - 128;
  for (auto& row : b) for (int& x : row) x = static_cast<int>(random() % 256) - 128;
  for (auto& row : c) for (int& x : row) x = static_cast<int>(random());
  const auto results = of_warp<IntegerQuad>([&](int lane) {
    const int group = lane >> 2, member = lane % 4;
    uint32_t own_a[4] = {}, own_b[2] = {};
    IntegerQuad own;
    for (int i = 0; i < 16; ++i) {
      const int row = (0 <= i && i < 4) || (8 <= i && i < 12) ? group : group + 8;
      const int column = i < 8 ? member * 4 + (i & 3) : member * 4 + (i & 3) + 16;
      own_a[i / 4] |= static_cast<uint32_t>(static_cast<uint8_t>(a[row][column])) << (8 * (i % 4));
    }
    for (int i = 0; i < 8; ++i) {
      const int row = i < 4 ? member * 4 + (i & 3) : member * 4 + (i & 3) + 16;
      own_b[i / 4] |= static_cast<uint32_t>(static_cast<uint8_t>(b[row][group])) << (8 * (i % 4));
    }
    for (int i = 0; i < 4; ++i) own.c[i] = c[i < 2 ? group : group + 8][member * 2 + (i & 1)];
    cuda::multiply_i8(own.c, own_a, own_b[0], own_b[1]);
    return own;
  });
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = i < 2 ? lane / 4 : lane / 4 + 8, column = lane % 4 * 2 + (i & 1);
      int64_t expected = c[row][column];
      for (int k = 0; k < 32; ++k) expected += a[row][k] * b[k][column];
      // Without .satfinite "accumulation is performed with wrapping".
      JCB_CHECK(results[lane].c[i] == static_cast<int32_t>(static_cast<uint32_t>(expected)), "lane %d, c%d", lane, i);
    }
  }
}

// PTX ISA, ldmatrix: .x4: threads 0-7 hold the addresses of the rows of the first matrix, 8-15 of the second, and so on;
// thread 4 r + i gets elements 2 i and 2 i + 1 of row r, of matrix m in its register m.
void test_load_matrices() {
  const auto results = of_warp<std::array<uint32_t, 4>>(
      [](int lane) {
        uint16_t* const shared = reinterpret_cast<uint16_t*>(cuda::dynamic_shared());
        // Row r of matrix m lies at a place that is no simple function of either, and holds 100 m + 10 r + column.
        const auto place = [](int m, int r) { return ((8 * m + r) * 5 + 3) % 32; };
        const int m = lane / 8, r = lane % 8;
        for (int column = 0; column < 8; ++column) {
          shared[place(m, r) * 8 + column] = static_cast<uint16_t>(100 * m + 10 * r + column);
        }
        cuda::warp_barrier();
        uint32_t registers[4];
        cuda::load_matrices(registers, shared + place(m, r) * 8);
        return std::array<uint32_t, 4>{registers[0], registers[1], registers[2], registers[3]};
      },
      3, 512);
  std::set<int> places;
  for (int m = 0; m < 4; ++m) for (int r = 0; r < 8; ++r) places.insert(((8 * m + r) * 5 + 3) % 32);
  JCB_CHECK(places.size() == 32, "the test's own places overlap");
  for (int lane = 0; lane < 32; ++lane) {
    for (int m = 0; m < 4; ++m) {
      const int first = 100 * m + 10 * (lane / 4) + lane % 4 * 2;
      const uint32_t expected = word_of(static_cast<uint16_t>(first), static_cast<uint16_t>(first + 1));
      JCB_CHECK(results[lane][m] == expected, "lane %d, matrix %d", lane, m);
    }
  }
}

void test_lanes_exchange_values() {
  const auto xored = of_warp<int>([](int lane) { return cuda::shuffle_xor(lane * 3, 5); });
  const auto taken = of_warp<double>([](int lane) { return cuda::shuffle(lane + 0.5, lane * 7 % 32); });
  const auto wrapped = of_warp<int>([](int lane) { return cuda::shuffle(lane, lane - 3); });
  const auto votes = of_warp<uint32_t>([](int lane) { return cuda::ballot(lane % 3 == 0); });
  for (int lane = 0; lane < 32; ++lane) {
    JCB_CHECK(xored[lane] == (lane ^ 5) * 3, "lane %d", lane);
    JCB_CHECK(taken[lane] == lane * 7 % 32 + 0.5, "lane %d", lane);
    JCB_CHECK(wrapped[lane] == (lane + 29) % 32, "lane %d: %d", lane, wrapped[lane]);
    JCB_CHECK(votes[lane] == 0x49249249u, "lane %d: %x", lane, votes[lane]);
  }
}

// PTX ISA, prmt: the bytes of {b, a} are numbered 7 to 0; a nibble of the selector picks one by its three lower bits, and
// with the fourth the sign of that byte is replicated over the eight bits.
void test_permute_bytes() {
  std::mt19937 random(4);
  for (int round = 0; round < 2000; ++round) {
    const uint32_t low = static_cast<uint32_t>(random()), high = static_cast<uint32_t>(random());
    const uint32_t selector = static_cast<uint32_t>(random());
    uint8_t bytes[8], expected[4];
    std::memcpy(bytes, &low, 4);
    std::memcpy(bytes + 4, &high, 4);
    for (int i = 0; i < 4; ++i) {
      const uint32_t nibble = selector >> (4 * i) & 0xf;
      expected[i] = bytes[nibble & 7];
      if ((nibble & 8) != 0) expected[i] = (expected[i] & 0x80) != 0 ? 0xff : 0x00;
    }
    uint32_t word;
    std::memcpy(&word, expected, 4);
    JCB_CHECK(cuda::permute_bytes(low, high, selector) == word, "%08x %08x %08x", low, high, selector);
  }
}

// Every fp16 value, alone and beside others: conversions, and sums and products rounded once to nearest even.
void test_pairs() {
  std::mt19937 random(5);
  const auto same = [](double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); };
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const uint32_t other = random() & 0xffff, third = random() & 0xffff;
    const uint32_t pair = bits | other << 16;
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double value = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    if (exponent == 31) value = fraction == 0 ? INFINITY : NAN;
    if ((bits & 0x8000) != 0) value = -value;
    JCB_CHECK(same(cuda::low_of(pair), value), "%04x", bits);
    JCB_CHECK(same(cuda::high_of(bits << 16 | other), value), "%04x", bits);
    JCB_CHECK(cuda::low_twice(pair) == (bits | bits << 16) && cuda::high_twice(pair) == (other | other << 16), "%04x", bits);
    if (!std::isnan(value)) {
      const float as_float = static_cast<float>(value);
      JCB_CHECK(cuda::pair_of(as_float, as_float) == (bits | bits << 16), "%04x", bits);
    }
    const double x = value, y = cuda::low_of(other), z = cuda::low_of(third);
    // Sums and products of two fp16 are exact in fp64, so that one rounding is left.
    const auto rounded = [](double exact) { return static_cast<double>(static_cast<_Float16>(exact)); };
    JCB_CHECK(same(cuda::low_of(cuda::pair_add(bits, other)), rounded(x + y)), "%04x + %04x", bits, other);
    JCB_CHECK(same(cuda::low_of(cuda::pair_multiply(bits, other)), rounded(x * y)), "%04x * %04x", bits, other);
    const double larger = std::isnan(x) ? y : std::isnan(y) ? x : std::max(x, y);
    JCB_CHECK(same(cuda::low_of(cuda::pair_maximum(bits, other)), larger), "max(%04x, %04x)", bits, other);
    JCB_CHECK(same(cuda::low_of(cuda::pair_fma(bits, other, third)), rounded(std::fma(x, y, z))) ||
                  std::fabs(cuda::low_of(cuda::pair_fma(bits, other, third)) - std::fma(x, y, z)) <=
                      std::ldexp(std::fabs(std::fma(x, y, z)), -11),
              "fma(%04x, %04x, %04x)", bits, other, third);
  }
  // 1 + 2^-11 lies between two fp16; a product that is a little more decides, which a second rounding would lose.
  const uint32_t one = half_bits(1), tiny = half_bits(std::ldexp(1, -24));
  const uint32_t a = half_bits(1 + std::ldexp(1, -10)), b = half_bits(std::ldexp(1, -11));
  JCB_CHECK(cuda::low_of(cuda::pair_fma(a, b, one)) == 1 + std::ldexp(1, -10), "a little more than half is rounded up");
  JCB_CHECK(cuda::low_of(cuda::pair_fma(one, b, one)) == 1, "a half goes to the even one");
  JCB_CHECK(cuda::low_of(cuda::pair_fma(tiny, one, tiny)) == std::ldexp(1, -23), "subnormal values count");
  JCB_CHECK(cuda::number_of_bits(0) == 0 && cuda::number_of_bits(0x80000001u) == 2 && cuda::number_of_bits(~0u) == 32, "ones");
  JCB_CHECK(cuda::float_of_bits(cuda::bits_of_float(-1.5f)) == -1.5f && cuda::bits_of_float(1.0f) == 0x3f800000u, "bits");
}

void test_atomics() {
  uint32_t sum = 0, bits = 0, first = 0;
  uint64_t largest = 0;
  std::vector<uint32_t> before(96);
  emulation::launch(3, 32, 0, 1, [&] {
    const uint32_t number = blockIdx.x * 32 + threadIdx.x;
    before[number] = cuda::add_atomically(&sum, 1u);
    cuda::maximum_atomically(&largest, static_cast<uint64_t>(number) * 7 % 96);
    const uint32_t bit = 1u << (number % 24);
    if ((cuda::or_atomically(&bits, bit) & bit) == 0) cuda::add_atomically(&first, 1u);
  });
  JCB_CHECK(bits == 0xffffff && first == 24, "%x, and %u threads set a bit that was not set", bits, first);
  JCB_CHECK(sum == 96 && largest == 95, "%u %llu", sum, static_cast<unsigned long long>(largest));
  JCB_CHECK(std::set<uint32_t>(before.begin(), before.end()).size() == 96, "every thread saw another value");
}

// A ring of copies, as kernels use them, gives the same whatever the seed; without its wait or barrier it does not.
std::vector<uint32_t> ring(uint32_t seed, bool waits, bool meets) {
  alignas(16) static uint32_t source[64 * 4];
  for (uint32_t i = 0; i < 64 * 4; ++i) source[i] = i;
  std::vector<uint32_t> sums(64);
  emulation::launch(1, 64, 2 * 64 * 16, seed, [&] {
    const unsigned thread = threadIdx.x;
    char* const shared = cuda::dynamic_shared();
    cuda::copy_16(shared + 16 * thread, source + 4 * thread);
    cuda::close_copies();
    cuda::copy_16_if(thread % 2 == 0, shared + 64 * 16 + 16 * thread, source);
    cuda::close_copies();
    if (waits) cuda::wait_for_copies<1>();
    if (meets) cuda::block_barrier();
    uint32_t values[4];
    std::memcpy(values, shared + 16 * ((thread + 33) % 64), 16);  // of the other warp
    sums[thread] = values[0] + values[1] + values[2] + values[3];
  });
  return sums;
}

void test_copies_arrive_by_their_wait_and_barriers_matter() {
  int late = 0, early = 0;
  for (uint32_t seed = 0; seed < 20; ++seed) {
    const std::vector<uint32_t> sums = ring(seed, true, true);
    for (uint32_t thread = 0; thread < 64; ++thread) {
      JCB_CHECK(sums[thread] == 16 * ((thread + 33) % 64) + 6, "seed %u, thread %u: %u", seed, thread, sums[thread]);
    }
    late += ring(seed, false, true) != sums;
    early += ring(seed, true, false) != sums;
  }
  JCB_CHECK(late == 20 && early > 0, "a missing wait was seen by %d seeds of 20, a missing barrier by %d", late, early);
}

void test_faults_are_noticed() {
  const auto fails = [](unsigned threads, const std::function<void()>& kernel) {
    return throws<emulation::KernelFault>([&] { emulation::launch(1, threads, 64, 0, kernel); });
  };
  JCB_CHECK(fails(32, [] {
    if (threadIdx.x < 16) cuda::warp_barrier();
    else cuda::ballot(true);
  }), "lanes at different operations");
  JCB_CHECK(fails(32, [] {
    if (threadIdx.x != 5) cuda::shuffle_xor(1, 1);
  }), "a lane that has ended");
  JCB_CHECK(fails(64, [] {
    if (threadIdx.x < 32) cuda::block_barrier();
    else while (cuda::ballot(true) != 0 && threadIdx.x == 99) {}
    if (threadIdx.x >= 32) cuda::block_barrier();
    if (threadIdx.x == 0) cuda::block_barrier();
    else cuda::warp_barrier();
  }), "a barrier in a branch");
  JCB_CHECK(fails(16, [] { cuda::warp_barrier(); }), "half a warp");
  JCB_CHECK(fails(32, [] {
    static const uint4 source{};
    cuda::copy_16(cuda::dynamic_shared() + 8, &source);
  }), "an address that is no multiple of 16");
  JCB_CHECK(fails(32, [] {
    static const uint4 source{};
    cuda::copy_16(cuda::dynamic_shared() + 64, &source);
  }), "an address beyond the shared memory");
  JCB_CHECK(throws<std::runtime_error>([] {
    emulation::launch(1, 32, 0, 0, [] { if (threadIdx.x == 7) throw std::runtime_error("of a thread"); });
  }), "what a kernel throws");
}

}  // namespace
}  // namespace jcb::tests

int main() {
  using namespace jcb::tests;
  test_multiply_f16();
  test_multiply_i8();
  test_load_matrices();
  test_lanes_exchange_values();
  test_permute_bytes();
  test_pairs();
  test_atomics();
  test_copies_arrive_by_their_wait_and_barriers_matter();
  test_faults_are_noticed();
  return report("cuda_machine");
}
