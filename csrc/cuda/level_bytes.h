// A codec's levels as small integers: level ~ unit * integer.
#pragma once
#include <cstdint>

#include "jcb/store.h"

namespace jcb::cuda {

struct LevelBytes {
  // The integers within -127..127 with the least error. Any table of up to 16 levels will do; zeros alone have unit 1.
  explicit LevelBytes(const CodecView& codec);

  int8_t integers[16] = {};
  double unit = 1.0;
  double error = 0.0;  // the largest |level - unit * integer|
  double largest = 0.0;  // the largest |level|
};

}  // namespace jcb::cuda
