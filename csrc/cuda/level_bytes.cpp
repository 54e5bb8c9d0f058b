#include "cuda/level_bytes.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace jcb::cuda {
namespace {

// Equal levels have one rank: which of them a code is makes no difference.
void rank_levels(const float* levels, int count, LevelBytes& bytes) {
  std::vector<std::vector<float>> sharing(256);  // the levels of an integer
  size_t most = 1;
  for (int i = 0; i < count; ++i) {
    std::vector<float>& own = sharing[bytes.integers[i] & 255];
    const auto found = std::find(own.begin(), own.end(), levels[i]);
    bytes.ranks[i] = static_cast<uint8_t>(found - own.begin());
    if (found == own.end()) own.push_back(levels[i]);
    most = std::max(most, own.size());
  }
  while (most > size_t{1} << bytes.rank_bits) bytes.rank_bits = bytes.rank_bits == 0 ? 1 : 2 * bytes.rank_bits;
  bytes.by_rank.resize(size_t{256} << bytes.rank_bits);
  for (int i = 0; i < count; ++i) {
    bytes.by_rank[place_of_level(bytes.integers[i], bytes.ranks[i], bytes.rank_bits)] = levels[i];
  }
}

}  // namespace

LevelBytes::LevelBytes(const CodecView& codec) {
  if (codec.nbits > 8) return;
  const int count = 1 << codec.nbits;
  for (int i = 0; i < count; ++i) {
    if (!std::isfinite(codec.levels[i])) {
      throw CorruptIndex("level " + std::to_string(i) + " of the codec is no number");
    }
    largest = std::max(largest, std::fabs(static_cast<double>(codec.levels[i])));
  }
  error = largest;
  // The largest level is some integer: each is tried. 3 and 10 for the 0.4528 and 1.5104 of a Gaussian at 2 bits.
  for (int top = 1; top <= 127 && largest > 0.0; ++top) {
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
  rank_levels(codec.levels, count, *this);
}

}  // namespace jcb::cuda
