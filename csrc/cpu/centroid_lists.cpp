#include "jcb/centroid_lists.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "cpu/panels.h"

namespace jcb {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr int64_t kVectorsPerItem = 2048;  // enough that each list meets some tens of them: rows of one product
constexpr int64_t kColumnsPerStep = 512;

struct Nearest {
  float score = kMinusInfinity;
  uint32_t id = std::numeric_limits<uint32_t>::max();

  void offer(float other, uint32_t other_id) {
    if (!(other > kMinusInfinity)) other = kMinusInfinity;  // NaN too
    if (other > score || (other == score && other_id < id)) *this = {other, other_id};
  }
};

// The panels of all lists, one after another, each list beginning a new panel.
class ListPanels {
 public:
  ListPanels(const VectorKernels& kernels, const CentroidLists& lists, int64_t dim) : depth_(dim) {
    int64_t columns = 0;
    for (int64_t list = 0; list < lists.count; ++list) {
      starts_.push_back(columns * dim);
      const int64_t size = lists.offsets[list + 1] - lists.offsets[list];
      columns += (size + kernels.panel_width - 1) / kernels.panel_width * kernels.panel_width;
    }
    values_ = FloatBuffer(columns * dim);
    for (int64_t list = 0; list < lists.count; ++list) {
      const int64_t first = lists.offsets[list];
      kernels.pack_panels(lists.centroids + first * dim, lists.offsets[list + 1] - first, dim,
                          values_.data() + starts_[list]);
    }
  }

  // Columns `column` onwards of a list; `column` is a multiple of the panel's width.
  const float* of(int64_t list, int64_t column) const { return values_.data() + starts_[list] + column * depth_; }

 private:
  int64_t depth_;
  std::vector<int64_t> starts_;
  FloatBuffer values_;
};

// The vectors of an item that probe each list: a counting sort.
class Visitors {
 public:
  Visitors(const int64_t* probes, int64_t vectors, int64_t probe_count, int64_t lists)
      : ends_(lists + 1), rows_(vectors * probe_count) {
    for (int64_t i = 0; i < vectors * probe_count; ++i) ++ends_[probes[i] + 1];
    for (int64_t list = 0; list < lists; ++list) ends_[list + 1] += ends_[list];
    std::vector<int64_t> next(ends_.begin(), ends_.end() - 1);
    for (int64_t i = 0; i < vectors * probe_count; ++i) rows_[next[probes[i]]++] = i / probe_count;
  }

  int64_t begin(int64_t list) const { return ends_[list]; }
  int64_t end(int64_t list) const { return ends_[list + 1]; }
  int64_t row(int64_t place) const { return rows_[place]; }

 private:
  std::vector<int64_t> ends_, rows_;
};

// Compares `count` gathered rows with all centroids of a list. nearest: of the row at each place.
void compare(const VectorKernels& kernels, const CentroidLists& lists, const ListPanels& panels, int64_t list,
             const float* rows, int64_t count, int64_t dim, float* products, Nearest* const* nearest) {
  const int64_t first = lists.offsets[list], size = lists.offsets[list + 1] - first;
  for (int64_t column = 0; column < size; column += kColumnsPerStep) {
    const int64_t columns = std::min(kColumnsPerStep, size - column);
    kernels.inner_products(rows, count, panels.of(list, column), columns, dim, products, kColumnsPerStep);
    const uint32_t* ids = lists.ids + first + column;
    for (int64_t r = 0; r < count; ++r) {
      const float* row = products + r * kColumnsPerStep;
      const float best = kernels.maximum(row, columns);
      if (best < nearest[r]->score) continue;
      for (int64_t c = 0; c < columns; ++c) {
        if (!(row[c] < best)) nearest[r]->offer(row[c], ids[c]);
      }
    }
  }
}

}  // namespace

void nearest_in_lists(const Machine& machine, const float* vectors, int64_t vector_count, int64_t dim,
                      const CentroidLists& lists, const int64_t* probes, int64_t probe_count, uint32_t* ids) {
  const VectorKernels& kernels = machine.kernels;
  const ListPanels panels(kernels, lists, dim);
  machine.pool.for_each((vector_count + kVectorsPerItem - 1) / kVectorsPerItem, [&](int64_t item) {
    const int64_t start = item * kVectorsPerItem, count = std::min(kVectorsPerItem, vector_count - start);
    const Visitors visitors(probes + start * probe_count, count, probe_count, lists.count);
    const FloatBuffer rows(kRowsPerBlock * dim), products(kRowsPerBlock * kColumnsPerStep);
    std::vector<Nearest> nearest(count);
    Nearest* of_row[kRowsPerBlock];
    for (int64_t list = 0; list < lists.count; ++list) {
      for (int64_t first = visitors.begin(list); first < visitors.end(list); first += kRowsPerBlock) {
        const int64_t taken = std::min(kRowsPerBlock, visitors.end(list) - first);
        for (int64_t r = 0; r < taken; ++r) {
          const int64_t row = visitors.row(first + r);
          std::copy_n(vectors + (start + row) * dim, dim, rows.data() + r * dim);
          of_row[r] = &nearest[row];
        }
        compare(kernels, lists, panels, list, rows.data(), taken, dim, products.data(), of_row);
      }
    }
    for (int64_t row = 0; row < count; ++row) ids[start + row] = nearest[row].id;
  });
}

}  // namespace jcb
