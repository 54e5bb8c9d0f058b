// The loops of vector_kernels.h, written once in the compiler's vector types and compiled once per instruction set: each
// vector_kernels_<set>.cpp defines JCB_SET (a namespace), JCB_LANES (floats per register) and JCB_TILE_ROWS (rows per
// tile: twice as many accumulators, which with the operands fill the registers), and includes this.
//
// Only raw pointers and built-in types here: an inline function of the standard library that is compiled in this file
// could be the copy that the linker keeps for a processor without these instructions.
#include <cstdint>

#include "cpu/vector_kernels.h"
#include "jcb/half.h"

#if defined(__F16C__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace jcb::JCB_SET {
namespace {

#define JCB_INLINE inline __attribute__((always_inline))

constexpr int kLanes = JCB_LANES;
constexpr int kPanelWidth = 2 * kLanes;           // two registers: what hides the latency of the broadcast loads
constexpr int kTileRows = JCB_TILE_ROWS;
constexpr float kMinusInfinity = -__builtin_inff();

typedef float Floats __attribute__((vector_size(4 * JCB_LANES)));
typedef int32_t Integers __attribute__((vector_size(4 * JCB_LANES)));
typedef float HalfFloats __attribute__((vector_size(2 * JCB_LANES)));
typedef double Doubles __attribute__((vector_size(4 * JCB_LANES)));  // one register, half the lanes
typedef uint8_t Bytes __attribute__((vector_size(JCB_LANES)));

JCB_INLINE Floats load(const float* p) {
  Floats v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
JCB_INLINE Integers load(const int32_t* p) {
  Integers v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
JCB_INLINE Doubles load_doubles(const float* p) {
  HalfFloats v;
  __builtin_memcpy(&v, p, sizeof(v));
  return __builtin_convertvector(v, Doubles);
}
JCB_INLINE void store(float* p, Floats v) { __builtin_memcpy(p, &v, sizeof(v)); }
JCB_INLINE void store(int32_t* p, Integers v) { __builtin_memcpy(p, &v, sizeof(v)); }
// Not `+`: adding zero changes a negative zero, so that the compiler would have to do it.
JCB_INLINE Floats splat(float value) { return value - Floats{}; }
// The second operand where one is NaN, as the machine's instruction has it.
JCB_INLINE Floats larger(Floats a, Floats b) { return a > b ? a : b; }

}  // namespace
}  // namespace jcb::JCB_SET

#include "cpu/vector_kernels_codec.h"
#include "cpu/vector_kernels_products.h"

namespace jcb::JCB_SET {
namespace {

constexpr VectorKernels kKernels = {
    kPanelWidth,    pack_panels, inner_products,      max_inner_products, argmax_inner_products,
    max_table_rows, maximum,     half_array_to_float, add_scaled,         quantize,
    dequantize,
};

}  // namespace
}  // namespace jcb::JCB_SET
