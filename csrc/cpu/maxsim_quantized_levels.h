#pragma once
#include <cstdint>
#include <vector>

#include "cpu/maxsim_quantized.h"

namespace jcb::maxsim {

// The level table of a codec as u8: level ~ unit * weight + low. Any table will do.
struct LevelLattice {
  LevelLattice(const CodecView& codec, const DotLimits& limits);

  // Weights 0 to largest_weight that stand for values from least to most, evenly; least <= 0 <= most. Without the hull.
  static LevelLattice even(double least, double most, int largest_weight);

  // Largest |a * level + b * (level - (unit * weight + low))| of all codes.
  double largest_combination(double a, double b) const;

  double unit = 1.0, low = 0.0;
  double largest_level = 0.0;   // of |level|
  double largest_weight = 0.0;  // of |weight + low / unit|
  uint8_t weights[256] = {};

 private:
  LevelLattice() = default;

  struct Point {
    double level, error;
  };
  std::vector<Point> hull_;  // corners of the convex hull of all codes: the combinations above are largest there
};

}  // namespace jcb::maxsim
