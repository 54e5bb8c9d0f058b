// The tile unit of a processor with AMX: eight registers of 16 rows of 64 bytes. tile_unit_emulated.h has the same names.
// Included by files that are compiled with -mamx-tile -mamx-int8, and entered only after the system has granted the unit
// (dispatch.cpp).
#pragma once
#include <cstdint>

#include "cpu/maxsim_quantized.h"

namespace jcb::maxsim {
namespace {  // private to each file that includes this: see simd_scalar.h

// Registers hold values only while such an object lives, in the thread that made it; they begin as zeros. Asm, since the
// intrinsics of g++ 12 may be moved across accesses to the memory that they read, and take literals alone for registers.
class TileUnit {
 public:
  JCB_INLINE TileUnit() {
    // Palette 1, no row done yet; then bytes of a row per register, at 16, and rows per register, at 48.
    alignas(64) uint8_t configuration[64] = {1};
    for (int i = 0; i < 8; ++i) configuration[16 + 2 * i] = 64, configuration[48 + i] = 16;
    __asm__ volatile("ldtilecfg %0" : : "m"(configuration));
  }
  // Lets the system save less at a switch, and the processor rest the unit.
  JCB_INLINE ~TileUnit() { __asm__ volatile("tilerelease" : : : "memory"); }
  TileUnit(const TileUnit&) = delete;
  TileUnit& operator=(const TileUnit&) = delete;

  // 16 rows, each `stride` bytes behind the one before it.
  template <int kTile>
  JCB_INLINE void load(const void* rows, int64_t stride) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(rows), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  JCB_INLINE void store(void* rows, int64_t stride) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(rows), "r"(stride), "i"(kTile) : "memory");
  }
  // sums[m][n] += sum over k < 16 and i < 4 of unsigned[m][4 k + i] * signed[k][4 n + i]; sums are i32 and may wrap.
  template <int kSums, int kUnsigned, int kSigned>
  JCB_INLINE void multiply() {
    __asm__ volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kUnsigned), "i"(kSigned));
  }
};

}  // namespace
}  // namespace jcb::maxsim
