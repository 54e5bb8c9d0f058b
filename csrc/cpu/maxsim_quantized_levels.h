#pragma once
#include <cstdint>
#include <vector>

#include "cpu/maxsim_quantized.h"

namespace jcb::maxsim {

// Values as u8 weights: value ~ unit * weight + low.
struct Lattice {
  double unit = 1.0, low = 0.0;
  double largest_weight = 0.0;  // of |weight + low / unit|
};

// The level table of a codec so. Any table will do.
struct LevelLattice : Lattice {
  LevelLattice(const CodecView& codec, const DotLimits& limits);

  // Largest |a * level + b * (level - (unit * weight + low))| of all codes.
  double largest_combination(double a, double b) const;

  double largest_level = 0.0;  // of |level|
  uint8_t weights[256] = {};

 private:
  struct Point {
    double level, error;
  };
  std::vector<Point> hull_;  // corners of the convex hull of all codes: the combinations above are largest there
};

}  // namespace jcb::maxsim
