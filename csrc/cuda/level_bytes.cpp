#include "cuda/level_bytes.h"

#include <algorithm>
#include <cmath>

namespace jcb::cuda {

LevelBytes::LevelBytes(const CodecView& codec) {
  const int count = 1 << codec.nbits;
  for (int i = 0; i < count; ++i) largest = std::max(largest, std::fabs(static_cast<double>(codec.levels[i])));
  if (largest == 0.0) return;
  error = largest;
  // The largest level is some integer: each is tried. 3 and 10 for the 0.4528 and 1.5104 of a Gaussian at 2 bits.
  for (int top = 1; top <= 127; ++top) {
    const double tried = largest / top;
    double worst = 0.0;
    for (int i = 0; i < count; ++i) {
      worst = std::max(worst, std::fabs(codec.levels[i] - tried * std::nearbyint(codec.levels[i] / tried)));
    }
    if (worst < error) {
      error = worst;
      unit = tried;
    }
  }
  for (int i = 0; i < count; ++i) integers[i] = static_cast<int8_t>(std::lrint(codec.levels[i] / unit));
}

}  // namespace jcb::cuda
