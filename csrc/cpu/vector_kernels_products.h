// Products, look-ups, maxima and sums. Part of vector_kernels_impl.h, which see: no include of its own, compiled once per instruction set.
#pragma once

namespace jcb::JCB_SET {
namespace {

// ---------------------------------------------------------------------------------------------------------- products
void pack_panels(const float* columns, int64_t column_count, int64_t depth, float* panels) {
  for (int64_t first = 0; first < column_count; first += kPanelWidth, panels += depth * kPanelWidth) {
    const int64_t filled = column_count - first < kPanelWidth ? column_count - first : kPanelWidth;
    for (int64_t d = 0; d < depth; ++d) {
      float* row = panels + d * kPanelWidth;
      for (int64_t c = 0; c < filled; ++c) row[c] = columns[(first + c) * depth + d];
      for (int64_t c = filled; c < kPanelWidth; ++c) row[c] = 0.0f;
    }
  }
}

// sums[r] = products of row r with the columns of the first Registers registers (1 or 2) of one panel.
template <int Rows, int Registers>
JCB_INLINE void multiply_tile(const float* rows, const float* panel, int64_t depth, Floats (&sums)[Rows][Registers]) {
#pragma GCC unroll 24
  for (int r = 0; r < Rows; ++r) {
    for (int k = 0; k < Registers; ++k) sums[r][k] = Floats{};
  }
#pragma GCC unroll 1
  for (int64_t d = 0; d < depth; ++d) {
    Floats columns[Registers];
    for (int k = 0; k < Registers; ++k) columns[k] = load(panel + d * kPanelWidth + k * kLanes);
#pragma GCC unroll 24
    for (int r = 0; r < Rows; ++r) {
      const Floats value = splat(rows[r * depth + d]);
      for (int k = 0; k < Registers; ++k) sums[r][k] += value * columns[k];
    }
  }
}

// Calls tile(first row, sums[Rows][Registers]) over all rows: whole tiles, then one of what remains.
template <int Rows, int Registers, class Tile>
JCB_INLINE void multiply_rest(const float* rows, int64_t first, int64_t rest, const float* panel, int64_t depth,
                              const Tile& tile) {
  if constexpr (Rows > 0) {
    if (rest == Rows) {
      Floats sums[Rows][Registers];
      multiply_tile<Rows, Registers>(rows + first * depth, panel, depth, sums);
      tile(first, sums);
    } else {
      multiply_rest<Rows - 1, Registers>(rows, first, rest, panel, depth, tile);
    }
  }
}

template <int Registers, class Tile>
JCB_INLINE void multiply_rows(const float* rows, int64_t row_count, const float* panel, int64_t depth,
                              const Tile& tile) {
  constexpr int kRows = kTileRows * 2 / Registers;
  int64_t first = 0;
  for (; first + kRows <= row_count; first += kRows) {
    Floats sums[kRows][Registers];
    multiply_tile<kRows, Registers>(rows + first * depth, panel, depth, sums);
    tile(first, sums);
  }
  multiply_rest<kRows - 1, Registers>(rows, first, row_count - first, panel, depth, tile);
}

// The first `count` lanes, fewer than all: in parts of fixed sizes, since a call of memcpy took longer than the products.
JCB_INLINE void store_first(float* to, const Floats& v, int64_t count) {
  static_assert(kLanes <= 16);
  const float* from = reinterpret_cast<const float*>(&v);
#pragma GCC unroll 4
  for (int64_t part = 8; part > 0; part /= 2) {
    if ((count & part) == 0) continue;
    __builtin_memcpy(to, from, 4 * part);
    to += part;
    from += part;
  }
}

void inner_products(const float* rows, int64_t row_count, const float* panels, int64_t column_count, int64_t depth,
                    float* products, int64_t products_stride) {
  for (int64_t column = 0; column < column_count; column += kPanelWidth, panels += depth * kPanelWidth) {
    const int64_t left = column_count - column, filled = left < kPanelWidth ? left : kPanelWidth;
    const auto write = [&]<int Rows, int Registers>(int64_t first, const Floats (&sums)[Rows][Registers]) {
#pragma GCC unroll 24
      for (int r = 0; r < Rows; ++r) {
        float* target = products + (first + r) * products_stride + column;
        for (int k = 0; k < Registers - 1; ++k) store(target + k * kLanes, sums[r][k]);
        const int64_t last = filled - (Registers - 1) * kLanes;
        if (last == kLanes) {
          store(target + (Registers - 1) * kLanes, sums[r][Registers - 1]);
        } else {
          store_first(target + (Registers - 1) * kLanes, sums[r][Registers - 1], last);
        }
      }
    };
    if (filled > kLanes) {
      multiply_rows<2>(rows, row_count, panels, depth, write);
    } else {
      multiply_rows<1>(rows, row_count, panels, depth, write);
    }
  }
}

void max_inner_products(const float* rows, int64_t row_count, const float* panels, int64_t panel_count, int64_t depth,
                        float* best) {
  for (int64_t p = 0; p < panel_count; ++p, panels += depth * kPanelWidth, best += kPanelWidth) {
    Floats left = load(best), right = load(best + kLanes);
    multiply_rows<2>(rows, row_count, panels, depth, [&]<int Rows>(int64_t, const Floats (&sums)[Rows][2]) {
#pragma GCC unroll 12
      for (int r = 0; r < Rows; ++r) {
        left = larger(sums[r][0], left);
        right = larger(sums[r][1], right);
      }
    });
    store(best, left);
    store(best + kLanes, right);
  }
}

void argmax_inner_products(const float* rows, int64_t row_count, const float* panels, int64_t panel_count,
                           int64_t depth, int32_t first_row, float* best, int32_t* best_rows) {
  for (int64_t p = 0; p < panel_count; ++p, panels += depth * kPanelWidth) {
    multiply_rows<2>(rows, row_count, panels, depth, [&]<int Rows>(int64_t first, const Floats (&sums)[Rows][2]) {
      for (int half = 0; half < 2; ++half) {
        float* best_scores = best + p * kPanelWidth + half * kLanes;
        int32_t* winners = best_rows + p * kPanelWidth + half * kLanes;
        Floats score = load(best_scores);
        Integers winner = load(winners);
#pragma GCC unroll 12
        for (int r = 0; r < Rows; ++r) {
          const Integers better = sums[r][half] > score;
          score = better ? sums[r][half] : score;
          winner = better ? Integers{} + (first_row + static_cast<int32_t>(first) + r) : winner;
        }
        store(best_scores, score);
        store(winners, winner);
      }
    });
  }
}

// ----------------------------------------------------------------------------------------------------------- look-ups
template <int Registers>
JCB_INLINE void max_rows_of_width(const float* table, int64_t stride, const uint32_t* ids, int64_t id_count,
                                  int64_t column_count, float* best) {
  Floats maxima[Registers];
  for (int i = 0; i < Registers; ++i) maxima[i] = splat(kMinusInfinity);
  constexpr int64_t ahead = 8;  // rows that are on their way from the outer caches while one is compared
  for (int64_t i = 0; i < id_count; ++i) {
    const float* row = table + ids[i] * stride;
    if (i + ahead < id_count) {
      const float* later = table + ids[i + ahead] * stride;
      for (int k = 0; k < Registers * kLanes; k += 16) __builtin_prefetch(later + k);
    }
#pragma GCC unroll 4
    for (int k = 0; k < Registers; ++k) maxima[k] = larger(load(row + k * kLanes), maxima[k]);
  }
  float values[Registers * kLanes];
  for (int k = 0; k < Registers; ++k) store(values + k * kLanes, maxima[k]);
  for (int64_t c = 0; c < column_count; ++c) best[c] = values[c] > best[c] ? values[c] : best[c];
}

void max_table_rows(const float* table, int64_t stride, const uint32_t* ids, int64_t id_count, int64_t column_count,
                    float* best) {
  constexpr int kWidest = 4 * kLanes;
  for (int64_t column = 0; column < column_count; column += kWidest) {
    const int64_t columns = column_count - column < kWidest ? column_count - column : kWidest;
    switch ((columns + kLanes - 1) / kLanes) {
      case 1: max_rows_of_width<1>(table + column, stride, ids, id_count, columns, best + column); break;
      case 2: max_rows_of_width<2>(table + column, stride, ids, id_count, columns, best + column); break;
      case 3: max_rows_of_width<3>(table + column, stride, ids, id_count, columns, best + column); break;
      default: max_rows_of_width<4>(table + column, stride, ids, id_count, columns, best + column); break;
    }
  }
}

float maximum(const float* values, int64_t count) {
  Floats lanes = splat(kMinusInfinity);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) lanes = larger(load(values + i), lanes);
  float best = kMinusInfinity;
  for (int k = 0; k < kLanes; ++k) best = lanes[k] > best ? lanes[k] : best;
  for (; i < count; ++i) best = values[i] > best ? values[i] : best;
  return best;
}

void add_scaled(const float* source, int64_t count, float weight, float* target) {
  for (int64_t i = 0; i < count; ++i) target[i] += weight * source[i];
}

}  // namespace
}  // namespace jcb::JCB_SET
