// tile_unit.h in plain C++, for tests on processors without AMX: what the instruction set reference of Intel says of
// TILELOADD, TILESTORED and TDPBUSD, where all registers have 16 rows of 64 bytes.
#pragma once
#include <cstdint>
#include <cstring>

namespace jcb::maxsim {
namespace {

class TileUnit {
 public:
  template <int kTile>
  void load(const void* rows, int64_t stride) {
    const char* from = static_cast<const char*>(rows);
    for (int row = 0; row < 16; ++row) std::memcpy(tiles_[kTile][row], from + row * stride, 64);
  }
  template <int kTile>
  void store(void* rows, int64_t stride) {
    char* to = static_cast<char*>(rows);
    for (int row = 0; row < 16; ++row) std::memcpy(to + row * stride, tiles_[kTile][row], 64);
  }
  template <int kSums, int kUnsigned, int kSigned>
  void multiply() {
    static_assert(kSums != kUnsigned && kSums != kSigned && kUnsigned != kSigned);  // the processor refuses others
    for (int m = 0; m < 16; ++m) {
      for (int k = 0; k < 16; ++k) {
        for (int n = 0; n < 16; ++n) {
          add_four(tiles_[kSums][m] + 4 * n, tiles_[kUnsigned][m] + 4 * k, tiles_[kSigned][k] + 4 * n);
        }
      }
    }
  }

 private:
  static void add_four(uint8_t* sum, const uint8_t* without_sign, const uint8_t* with_sign) {
    uint32_t total;
    std::memcpy(&total, sum, sizeof(total));
    for (int i = 0; i < 4; ++i) {
      total += static_cast<uint32_t>(int32_t{without_sign[i]} * static_cast<int8_t>(with_sign[i]));
    }
    std::memcpy(sum, &total, sizeof(total));
  }

  uint8_t tiles_[8][16][64] = {};
};

}  // namespace
}  // namespace jcb::maxsim
