#include "cpu/maxsim_quantized_levels.h"

#include <algorithm>
#include <cmath>

namespace jcb::maxsim {

LevelLattice::LevelLattice(const CodecView& codec, const DotLimits& limits) {
  const int count = 1 << codec.nbits;
  const auto [least, most] = std::minmax_element(codec.levels, codec.levels + count);
  const double range = static_cast<double>(*most) - *least;
  double best = INFINITY;
  // A few levels fall closer to some lattices than to others: to find a good one is worth a third of the error.
  const int coarsest = std::max(limits.largest_weight * 7 / 8, 1);
  for (int steps = limits.largest_weight; range > 0 && steps >= coarsest; --steps) {
    double smallest = INFINITY, greatest = -INFINITY;
    for (int i = 0; i < count; ++i) {
      const double exact = (codec.levels[i] - *least) * steps / range;
      smallest = std::min(smallest, exact - std::nearbyint(exact));
      greatest = std::max(greatest, exact - std::nearbyint(exact));
    }
    if ((greatest - smallest) / steps < best) {
      best = (greatest - smallest) / steps;
      unit = range / steps;
      low = *least + unit * (greatest + smallest) / 2.0;
    }
  }
  if (range <= 0) low = *least;
  std::vector<Point> points(count);
  for (int i = 0; i < count; ++i) {
    weights[i] = static_cast<uint8_t>(std::clamp(std::nearbyint((codec.levels[i] - *least) / unit), 0.0, 255.0));
    points[i] = {codec.levels[i], codec.levels[i] - (unit * weights[i] + low)};
    largest_level = std::max(largest_level, std::fabs(static_cast<double>(codec.levels[i])));
    largest_weight = std::max(largest_weight, std::fabs(weights[i] + low / unit));
  }
  std::sort(points.begin(), points.end(), [](Point a, Point b) { return a.level < b.level; });
  for (const double side : {1.0, -1.0}) {  // the chain above, then the one below
    const size_t first = hull_.size();
    for (const Point& point : points) {
      while (hull_.size() >= first + 2) {
        const Point &a = hull_[hull_.size() - 2], &b = hull_.back();
        const double turn =
            (b.level - a.level) * (point.error - a.error) - (b.error - a.error) * (point.level - a.level);
        if (side * turn < 0) break;
        hull_.pop_back();
      }
      hull_.push_back(point);
    }
  }
}

double LevelLattice::largest_combination(double a, double b) const {
  double largest = 0.0;
  for (const Point& point : hull_) largest = std::max(largest, std::fabs(a * point.level + b * point.error));
  return largest;
}

}  // namespace jcb::maxsim
