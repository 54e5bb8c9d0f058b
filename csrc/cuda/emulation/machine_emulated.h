// machine.h on the CPU. Included by it alone. Compiled as host code, for tests.
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "cuda/emulation/threads.h"

#define JCB_KERNEL(threads, blocks) inline void
#define JCB_DEVICE inline
#define JCB_ANYWHERE inline
#define __restrict__ __restrict

namespace jcb::cuda {
namespace emulation {

using Half = _Float16;

// Value `which` of a register.
inline Half half_in(uint32_t word, int which) {
  return std::bit_cast<Half>(static_cast<uint16_t>(word >> (16 * which)));
}
inline int8_t byte_in(uint32_t word, int which) { return static_cast<int8_t>(word >> (8 * which)); }
inline uint32_t word_of(Half low, Half high) {
  return std::bit_cast<uint16_t>(low) | static_cast<uint32_t>(std::bit_cast<uint16_t>(high)) << 16;
}
// operation(value of a, of b ..) for both halves, exact in Wide and rounded once, as the machine does.
template <class Wide, class Operation, class... Words>
uint32_t for_halves(const Operation& operation, Words... words) {
  return word_of(static_cast<Half>(operation(static_cast<Wide>(half_in(words, 0))...)),
                 static_cast<Half>(operation(static_cast<Wide>(half_in(words, 1))...)));
}

// Where value i of a lane's fragment stands, counted from its first register up; `per` values a register.
struct Place {
  int row, column;
};
// [16][8 per] of A: registers 0 and 2 hold row lane / 4, 1 and 3 the one 8 below; 2 and 3 the second half of the columns.
constexpr Place place_of_a(int lane, int i, int per) {
  const int part = i / per;
  return {lane / 4 + 8 * (part % 2), lane % 4 * per + i % per + 4 * per * (part / 2)};
}
// [8 per][8] of B.
constexpr Place place_of_b(int lane, int i, int per) {
  return {lane % 4 * per + i % per + 4 * per * (i / per), lane / 4};
}
// [16][8] of C.
constexpr Place place_of_c(int lane, int i) { return {lane / 4 + 8 * (i / 2), lane % 4 * 2 + i % 2}; }

template <class Sum>
struct Operands {
  uint32_t a[4], b[2];
  Sum c[4];
};
template <class Sum>
struct Sums {
  Sum c[4];
};

// c += a b. value(word, which): of a register of a or b. Sums are made in Wide and rounded, or wrapped, once.
template <class Wide, class Sum, int kPer, class Value>
void multiply(const char* operation, Sum (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
              const Value& value) {
  constexpr int kDepth = 8 * kPer;
  const Operands<Sum> own{{a[0], a[1], a[2], a[3]}, {b0, b1}, {c[0], c[1], c[2], c[3]}};
  const auto product = [&](const Operands<Sum>(&in)[kLanes], Sums<Sum>(&out)[kLanes]) {
    Wide left[16][kDepth], right[kDepth][8];
    for (int lane = 0; lane < kLanes; ++lane) {
      for (int i = 0; i < 4 * kPer; ++i) {
        const Place place = place_of_a(lane, i, kPer);
        left[place.row][place.column] = static_cast<Wide>(value(in[lane].a[i / kPer], i % kPer));
      }
      for (int i = 0; i < 2 * kPer; ++i) {
        const Place place = place_of_b(lane, i, kPer);
        right[place.row][place.column] = static_cast<Wide>(value(in[lane].b[i / kPer], i % kPer));
      }
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      for (int i = 0; i < 4; ++i) {
        const Place place = place_of_c(lane, i);
        Wide sum = static_cast<Wide>(in[lane].c[i]);
        for (int k = 0; k < kDepth; ++k) sum += left[place.row][k] * right[k][place.column];
        out[lane].c[i] = static_cast<Sum>(sum);
      }
    }
  };
  const auto sums = exchange<Operands<Sum>, Sums<Sum>>(operation, own, product);
  std::copy_n(sums.c, 4, c);
}

inline void check_shared(const char* operation, const void* address, size_t bytes) {
  const char* const first = static_cast<const char*>(address);
  const auto offset = first - shared_memory();
  if (offset < 0 || static_cast<size_t>(offset) + bytes > shared_size()) {
    throw KernelFault(std::string(operation) + ": the address is not in the block's shared memory");
  }
  if (offset % 16 != 0) throw KernelFault(std::string(operation) + ": the address is no multiple of 16");
}

inline void check_global(const char* operation, const void* address) {
  if (reinterpret_cast<uintptr_t>(address) % 16 != 0) {
    throw KernelFault(std::string(operation) + ": the global address is no multiple of 16");
  }
}

}  // namespace emulation

inline char* dynamic_shared() { return emulation::shared_memory(); }
inline void block_barrier() { emulation::meet_block("block_barrier"); }
inline void warp_barrier() {
  emulation::exchange<char, char>("warp_barrier", 0, [](const auto&, auto&) {});
}

// The source may differ from lane to lane, so it goes along with the value.
template <class Value>
Value shuffle(Value value, int lane) {
  struct In {
    Value value;
    int lane;
  };
  return emulation::exchange<In, Value>("shuffle", In{value, lane}, [](const auto& in, auto& out) {
    for (int l = 0; l < emulation::kLanes; ++l) out[l] = in[in[l].lane & (emulation::kLanes - 1)].value;
  });
}
template <class Value>
Value shuffle_xor(Value value, int bits) {
  return emulation::exchange<Value, Value>("shuffle_xor", value, [bits](const auto& in, auto& out) {
    for (int l = 0; l < emulation::kLanes; ++l) out[l] = in[(l ^ bits) & (emulation::kLanes - 1)];
  });
}
inline uint32_t ballot(bool predicate) {
  return emulation::exchange<bool, uint32_t>("ballot", predicate, [](const auto& in, auto& out) {
    uint32_t bits = 0;
    for (int l = 0; l < emulation::kLanes; ++l) bits |= static_cast<uint32_t>(in[l]) << l;
    std::fill_n(out, emulation::kLanes, bits);
  });
}

inline void multiply_f16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  emulation::multiply<double, float, 2>("multiply_f16", c, a, b0, b1, emulation::half_in);
}
inline void multiply_i8(int32_t (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  emulation::multiply<int64_t, int32_t, 4>("multiply_i8", c, a, b0, b1, emulation::byte_in);
}
inline void load_matrices(uint32_t (&r)[4], const void* row) {
  emulation::check_shared("load_matrices", row, 16);
  struct Out {
    uint32_t r[4];
  };
  const Out out = emulation::exchange<const void*, Out>("load_matrices", row, [](const auto& rows, auto& all) {
    for (int lane = 0; lane < emulation::kLanes; ++lane) {
      for (int m = 0; m < 4; ++m) {
        const char* const own = static_cast<const char*>(rows[8 * m + lane / 4]);
        std::memcpy(&all[lane].r[m], own + lane % 4 * 4, 4);
      }
    }
  });
  std::copy_n(out.r, 4, r);
}

inline void copy_16(void* to, const void* from) {
  emulation::check_shared("copy_16", to, 16);
  emulation::check_global("copy_16", from);
  emulation::begin_copy(to, from, 16);
}
inline void copy_16_if(bool wanted, void* to, const void* from) {
  if (wanted) copy_16(to, from);
}
inline void close_copies() { emulation::close_copies(); }
template <int kPending>
void wait_for_copies() {
  emulation::wait_for_copies(kPending);
}
inline uint4 load_once(const uint4* from) {
  emulation::check_global("load_once", from);
  return *from;
}

inline uint32_t permute_bytes(uint32_t low, uint32_t high, uint32_t selector) {
  const uint64_t bytes = static_cast<uint64_t>(high) << 32 | low;
  uint32_t result = 0;
  for (int i = 0; i < 4; ++i) {
    const uint32_t nibble = selector >> (4 * i) & 15;
    const auto byte = static_cast<uint8_t>(bytes >> (8 * (nibble & 7)));
    const uint8_t taken = (nibble & 8) == 0 ? byte : (byte & 128) != 0 ? 255 : 0;
    result |= static_cast<uint32_t>(taken) << (8 * i);
  }
  return result;
}
inline uint32_t pair_of(float low, float high) {
  return emulation::word_of(static_cast<emulation::Half>(low), static_cast<emulation::Half>(high));
}
inline float low_of(uint32_t pair) { return static_cast<float>(emulation::half_in(pair, 0)); }
inline float high_of(uint32_t pair) { return static_cast<float>(emulation::half_in(pair, 1)); }
inline uint32_t low_twice(uint32_t pair) { return pair << 16 | (pair & 0xffff); }
inline uint32_t high_twice(uint32_t pair) { return pair >> 16 | (pair & 0xffff0000); }
inline uint32_t pair_fma(uint32_t a, uint32_t b, uint32_t c) {
  using Quad = __float128;  // a product of fp16 and a sum take up to 80 bits
  return emulation::for_halves<Quad>([](Quad x, Quad y, Quad z) { return x * y + z; }, a, b, c);
}
inline uint32_t pair_multiply(uint32_t a, uint32_t b) {
  return emulation::for_halves<double>([](double x, double y) { return x * y; }, a, b);
}
inline uint32_t pair_add(uint32_t a, uint32_t b) {
  return emulation::for_halves<double>([](double x, double y) { return x + y; }, a, b);
}
inline uint32_t pair_maximum(uint32_t a, uint32_t b) {
  return emulation::for_halves<double>([](double x, double y) { return std::fmax(x, y); }, a, b);
}
inline float float_of_bits(uint32_t bits) { return std::bit_cast<float>(bits); }
inline uint32_t bits_of_float(float value) { return std::bit_cast<uint32_t>(value); }
inline uint32_t number_of_bits(uint32_t word) { return static_cast<uint32_t>(std::popcount(word)); }

inline void publish() {}
// Fibers never run at the same time.
template <class Value>
Value add_atomically(Value* at, Value value) {
  const Value before = *at;
  *at += value;
  return before;
}
template <class Value>
Value maximum_atomically(Value* at, Value value) {
  const Value before = *at;
  *at = std::max(before, value);
  return before;
}
inline uint32_t or_atomically(uint32_t* at, uint32_t bits) {
  const uint32_t before = *at;
  *at |= bits;
  return before;
}

}  // namespace jcb::cuda
