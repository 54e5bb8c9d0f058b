// What all tables of small integers are rounded with, and lengths of vectors.
#pragma once
#include <cmath>
#include <cstdint>

namespace jcb::maxsim {

constexpr double kLargestWord = 32767.0;  // i16

// The smallest float that is not below value: steps are used as floats and as doubles, and must be the same number.
inline double float_not_below(double value) {
  const float rounded = static_cast<float>(value);
  return rounded >= value ? rounded : std::nextafter(rounded, INFINITY);
}

// By how many bits sums of that size at most are shifted to fit i16, rounding included.
inline int shift_to_word(double largest_sum) {
  int shift = 0;
  while (std::ldexp(largest_sum, -shift) > kLargestWord - 1.0) ++shift;
  return shift;
}

inline double length(const float* vector, int64_t dim) {
  double square = 0.0;
  for (int64_t d = 0; d < dim; ++d) square += static_cast<double>(vector[d]) * vector[d];
  return std::sqrt(square);
}

}  // namespace jcb::maxsim
