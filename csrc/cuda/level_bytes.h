// A codec's levels as small integers: level ~ unit * (integer + offset).
#pragma once
#include <cstdint>
#include <vector>

#include "jcb/store.h"

namespace jcb::cuda {

constexpr int kMostLevels = 256;

struct LevelBytes {
  // The integers within -127..127 with the least error. Any table of up to 256 levels will do; zeros alone have unit 1,
  // and so has a raw codec, which has no levels. Throws CorruptIndex on NaN and infinity.
  explicit LevelBytes(const CodecView& codec);

  int8_t integers[kMostLevels] = {};
  double unit = 1.0;
  double offset = 0.0;
  double error = 0.0;  // the largest |level - unit * (integer + offset)|
  double largest = 0.0;  // the largest |level|
  // 4 bits whose levels are each other's negatives, as a Gaussian's are. Their integers are such with offset 1/2: -m - 1
  // beside m, which is m with every bit turned. Tiles keep these codes as a sign and the place of m, `kept`, for which
  // half as many look-ups are enough; others as they are.
  bool is_symmetric = false;
  uint8_t kept[kMostLevels];
  // Levels that share an integer are told apart by their rank among these, so that nothing is lost where tokens are
  // kept as integers: 256 levels of a Gaussian need two bits (up to three share one in the middle, and one bit would
  // double the error), evenly spaced ones none. rank_bits is 0, 1, 2, 4 or 8.
  uint8_t ranks[kMostLevels] = {};
  int rank_bits = 0;
  std::vector<float> by_rank;  // [256 << rank_bits]: the level of an integer and a rank, at place_of_level
};

constexpr int place_of_level(int integer, int rank, int rank_bits) { return (integer & 255) << rank_bits | rank; }

}  // namespace jcb::cuda
