#include "cuda/level_bytes.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace jcb::cuda {
namespace {

constexpr int kSymmetricBits = 4, kMagnitudes = 8;

// But for rounding: whoever made the table need not have made one half of the other.
bool are_symmetric(const CodecView& codec, double largest) {
  if (codec.nbits != kSymmetricBits || largest == 0.0) return false;
  for (int i = 0; i < kMagnitudes; ++i) {
    const double upper = codec.levels[kMagnitudes + i], lower = codec.levels[kMagnitudes - 1 - i];
    if (upper < 0.0 || lower > 0.0 || std::fabs(upper + lower) > 1e-5 * largest) return false;
  }
  return true;
}

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
  for (int i = 0; i < kMostLevels; ++i) kept[i] = static_cast<uint8_t>(i);
  if (codec.nbits > 8) return;
  const int count = 1 << codec.nbits;
  for (int i = 0; i < count; ++i) {
    if (!std::isfinite(codec.levels[i])) {
      throw CorruptIndex("level " + std::to_string(i) + " of the codec is no number");
    }
    largest = std::max(largest, std::fabs(static_cast<double>(codec.levels[i])));
  }
  error = largest;
  is_symmetric = are_symmetric(codec, largest);
  offset = is_symmetric ? 0.5 : 0.0;
  // Of a symmetric table, a lower level is what the upper one makes it, whatever its sign would be rounded to.
  const auto integer_of = [&](int i, double tried) {
    if (!is_symmetric) return std::nearbyint(codec.levels[i] / tried);
    const double upper = std::max(0.0, std::nearbyint(codec.levels[i < kMagnitudes ? count - 1 - i : i] / tried - offset));
    return i < kMagnitudes ? -upper - 1.0 : upper;
  };
  // The largest level is some integer: each is tried. 3 and 10 for the 0.4528 and 1.5104 of a Gaussian at 2 bits.
  for (int top = 1; top <= 127 && largest > 0.0; ++top) {
    const double tried = largest / (top + offset);
    double worst = 0.0;
    for (int i = 0; i < count; ++i) {
      worst = std::max(worst, std::fabs(codec.levels[i] - tried * (integer_of(i, tried) + offset)));
    }
    if (worst < error) {
      error = worst;
      unit = tried;
    }
  }
  for (int i = 0; i < count; ++i) {
    integers[i] = static_cast<int8_t>(integer_of(i, unit));
    if (is_symmetric) kept[i] = static_cast<uint8_t>(i < kMagnitudes ? kMagnitudes | (kMagnitudes - 1 - i) : i - kMagnitudes);
  }
  rank_levels(codec.levels, count, *this);
}

}  // namespace jcb::cuda
