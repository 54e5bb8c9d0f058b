// Products of one query token rounded to the bytes of kRowBytes. For maxsim_quantized_tables.cpp alone.
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "cpu/maxsim_quantized.h"

namespace jcb::maxsim {

// The portable baseline has no instruction for std::floor. For |value| < 65536.
inline int floor_of(double value) { return static_cast<int>(value + 65536.0) - 65536; }

// Sixteen values in steps, rounded to integers from 0 with an offset common to all: value = integer + offset +- error.
// The best offset puts the largest gap between the fractions where rounding jumps; 1/64 is fine enough for that.
struct RoundedGroup {
  int integers[16];
  int largest;
  double offset, error;

  RoundedGroup(const double* products, double per_step) {
    double values[16];
    uint64_t occupied = 0;
    for (int n = 0; n < 16; ++n) {
      values[n] = products[n] * per_step;
      occupied |= uint64_t{1} << (static_cast<int>((values[n] - floor_of(values[n])) * 64.0) & 63);
    }
    uint64_t before = occupied;
    for (; occupied != ~uint64_t{0}; occupied |= std::rotl(occupied, 1)) before = occupied;
    // The last bin to be reached from below ends the widest gap.
    const double jump = (std::countr_one(before) + 1) / 64.0;
    int lowest = 65536, highest = -65536;
    for (int n = 0; n < 16; ++n) {
      integers[n] = floor_of(values[n] - jump);
      lowest = std::min(lowest, integers[n]);
      highest = std::max(highest, integers[n]);
    }
    double smallest = INFINITY, greatest = -INFINITY;
    for (int n = 0; n < 16; ++n) {
      integers[n] -= lowest;
      const double rest = values[n] - integers[n];
      smallest = std::min(smallest, rest);
      greatest = std::max(greatest, rest);
    }
    largest = highest - lowest;
    offset = (smallest + greatest) / 2;
    error = (greatest - smallest) / 2;
  }
};

// All groups of one query token as bytes, in the order of rows.
struct RoundedRows {
  std::vector<RoundedGroup> groups;
  double offset = 0;  // in steps
  double error = 0;   // in steps
  int64_t largest_sum = 0;

  // products: [groups][16] in the order of rows. False if a sum of bytes could overflow at this step.
  bool round(const std::vector<double>& products, double byte_step) {
    const int64_t count = static_cast<int64_t>(products.size()) / 16;
    groups.clear();
    offset = error = 0.0;
    largest_sum = 0;
    for (int64_t first = 0; first < count; first += kRowsPerSum) {
      int sum = 0;
      for (int j = 0; j < kRowsPerSum; ++j) {
        groups.emplace_back(&products[(first + j) * 16], 1.0 / byte_step);
        sum += groups.back().largest;
        offset += groups.back().offset;
        error += groups.back().error;
      }
      if (sum > 255) return false;
      largest_sum += sum;
    }
    return true;
  }
};

}  // namespace jcb::maxsim
