// The inner loops over fp32 vectors, once per instruction set. Pointers and sizes only: the callers in this folder have
// checked every index, split the work over threads and own the memory.
//
// Products are made of "rows" and "panels". A panel holds `panel_width` columns transposed, [depth][panel_width], zero
// where there are fewer; panels follow each other. Every product is one chain of fp32 additions over the depth, in
// order, whatever the neighbours of its row and column: the same bits in any blocking and on any number of threads.
#pragma once
#include <cstdint>

#include "jcb/store.h"

namespace jcb {

struct VectorKernels {
  int64_t panel_width;

  // columns: [column_count][depth] -> panels: [ceil(column_count / panel_width)][depth][panel_width].
  void (*pack_panels)(const float* columns, int64_t column_count, int64_t depth, float* panels);

  // products[r * products_stride + c] = <rows[r], column c>, for the first column_count columns.
  void (*inner_products)(const float* rows, int64_t row_count, const float* panels, int64_t column_count, int64_t depth,
                         float* products, int64_t products_stride);

  // best[c] = max(best[c], <rows[r], column c> of all rows); best has panel_count * panel_width entries.
  void (*max_inner_products)(const float* rows, int64_t row_count, const float* panels, int64_t panel_count,
                             int64_t depth, float* best);

  // The same, and best_rows[c] = first_row + r of the first row that reached best[c].
  void (*argmax_inner_products)(const float* rows, int64_t row_count, const float* panels, int64_t panel_count,
                                int64_t depth, int32_t first_row, float* best, int32_t* best_rows);

  // best[c] = max(best[c], table[ids[i] * stride + c] over i), c < column_count. Reads whole registers, so up to
  // 63 floats beyond a row's columns: tables have kTablePadding floats behind their end (jcb/centroids.h).
  void (*max_table_rows)(const float* table, int64_t stride, const uint32_t* ids, int64_t id_count,
                         int64_t column_count, float* best);

  // The largest of `count` values; -inf when there is none. NaN counts as -inf.
  float (*maximum)(const float* values, int64_t count);

  // values[i] = scale * fp16 bits[i].
  void (*half_to_float)(const uint16_t* bits, int64_t count, float scale, float* values);

  // target[i] += weight * source[i].
  void (*add_scaled)(const float* source, int64_t count, float weight, float* target);

  // One token each; the rules are those of Backend.quantize in jcb_engine/kernels/interface.py.
  // residual: [dim] and indices: [dim] are workspace. codes: [code_bytes], written in full. sigma, norm: fp16 bits.
  void (*quantize)(const CodecView& codec, const float* vector, const float* centroid, float* residual,
                   uint8_t* indices, uint8_t* codes, uint16_t* sigma, uint16_t* norm);
  // vector = scale * (centroid + sigma * levels[codes]).
  void (*dequantize)(const CodecView& codec, const float* centroid, const uint8_t* codes, float sigma, float scale,
                     float* vector);
};


const VectorKernels& vector_kernels_scalar();
const VectorKernels& vector_kernels_avx2();
const VectorKernels& vector_kernels_avx512();
const VectorKernels& vector_kernels_neon();

}  // namespace jcb
