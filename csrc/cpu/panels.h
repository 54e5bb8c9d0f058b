// Memory for the panels of vector_kernels.h, and for tables that are read a little beyond their end.
#pragma once
#include <algorithm>
#include <cstdint>
#include <new>
#include <utility>

#include "cpu/vector_kernels.h"

namespace jcb {

// Floats on a cache line's boundary, not initialised. Throws std::bad_alloc.
class FloatBuffer {
 public:
  FloatBuffer() = default;
  explicit FloatBuffer(int64_t count)
      : values_(static_cast<float*>(::operator new(std::max<int64_t>(count, 1) * sizeof(float), kAlignment))) {}
  FloatBuffer(FloatBuffer&& other) noexcept : values_(other.values_) { other.values_ = nullptr; }
  FloatBuffer& operator=(FloatBuffer&& other) noexcept {
    std::swap(values_, other.values_);
    return *this;
  }
  ~FloatBuffer() { ::operator delete(values_, kAlignment); }

  float* data() const { return values_; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  float* values_ = nullptr;
};

// [ceil(columns / panel_width)][depth][panel_width], of columns [column_count][depth].
class Panels {
 public:
  Panels(const VectorKernels& kernels, const float* columns, int64_t column_count, int64_t depth)
      : count_((column_count + kernels.panel_width - 1) / kernels.panel_width),
        width_(kernels.panel_width),
        values_(count_ * width_ * depth) {
    kernels.pack_panels(columns, column_count, depth, values_.data());
  }

  int64_t count() const { return count_; }
  int64_t columns() const { return count_ * width_; }  // rounded up to whole panels
  const float* data() const { return values_.data(); }

 private:
  int64_t count_, width_;
  FloatBuffer values_;
};

// Rows that are multiplied with a panel before the next panel is taken: they stay in the second-level cache.
inline constexpr int64_t kRowsPerBlock = 96;

}  // namespace jcb
