// machine.h as PTX, for sm_80 and newer. Included by it alone.
#pragma once
#include <cuda_fp16.h>

#include <cstdint>

#define JCB_KERNEL(threads, blocks) __global__ void __launch_bounds__(threads, blocks)
#define JCB_DEVICE __device__ __forceinline__
#define JCB_ANYWHERE __host__ __device__ __forceinline__

namespace jcb::cuda {

JCB_DEVICE char* dynamic_shared() {
  extern __shared__ __align__(16) char shared[];
  return shared;
}
JCB_DEVICE uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

JCB_DEVICE void block_barrier() { __syncthreads(); }
JCB_DEVICE void warp_barrier() { __syncwarp(); }
template <class Value>
JCB_DEVICE Value shuffle(Value value, int lane) {
  return __shfl_sync(~0u, value, lane);
}
template <class Value>
JCB_DEVICE Value shuffle_xor(Value value, int bits) {
  return __shfl_xor_sync(~0u, value, bits);
}
JCB_DEVICE uint32_t ballot(bool predicate) { return __ballot_sync(~0u, predicate); }

JCB_DEVICE void multiply_f16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
JCB_DEVICE void multiply_i8(int32_t (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
JCB_DEVICE void load_matrices(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

JCB_DEVICE void copy_16(void* to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
}
// Predicated here: a branch around the copy would cost instructions that keep the warp together.
JCB_DEVICE void copy_16_if(bool wanted, void* to, const void* from) {
  asm volatile(
      "{ .reg .pred p; setp.ne.u32 p, %2, 0; @p cp.async.cg.shared.global [%0], [%1], 16; }" ::"r"(shared_address(to)),
      "l"(from), "r"(static_cast<uint32_t>(wanted))
      : "memory");
}
JCB_DEVICE void close_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kPending>
JCB_DEVICE void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}
JCB_DEVICE uint4 load_once(const uint4* from) {
  uint4 value;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "l"(from));
  return value;
}

// Not __byte_perm: the compiler knows that it reads 16 bits of the selector, and then shifts and masks each half apart.
JCB_DEVICE uint32_t permute_bytes(uint32_t low, uint32_t high, uint32_t selector) {
  uint32_t result;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(result) : "r"(low), "r"(high), "r"(selector));
  return result;
}
JCB_DEVICE uint32_t pair_of(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
JCB_DEVICE float low_of(uint32_t pair) { return __half2float(__ushort_as_half(static_cast<uint16_t>(pair))); }
JCB_DEVICE float high_of(uint32_t pair) { return __half2float(__ushort_as_half(static_cast<uint16_t>(pair >> 16))); }
JCB_DEVICE uint32_t low_twice(uint32_t pair) {
  uint32_t result;
  asm("{ .reg .b16 l, h; mov.b32 {l, h}, %1; mov.b32 %0, {l, l}; }" : "=r"(result) : "r"(pair));
  return result;
}
JCB_DEVICE uint32_t high_twice(uint32_t pair) {
  uint32_t result;
  asm("{ .reg .b16 l, h; mov.b32 {l, h}, %1; mov.b32 %0, {h, h}; }" : "=r"(result) : "r"(pair));
  return result;
}
JCB_DEVICE uint32_t pair_fma(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t result;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(result) : "r"(a), "r"(b), "r"(c));
  return result;
}
JCB_DEVICE uint32_t pair_multiply(uint32_t a, uint32_t b) {
  uint32_t result;
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(result) : "r"(a), "r"(b));
  return result;
}
JCB_DEVICE uint32_t pair_add(uint32_t a, uint32_t b) {
  uint32_t result;
  asm("add.rn.f16x2 %0, %1, %2;" : "=r"(result) : "r"(a), "r"(b));
  return result;
}
JCB_DEVICE uint32_t pair_maximum(uint32_t a, uint32_t b) {
  uint32_t result;
  asm("max.f16x2 %0, %1, %2;" : "=r"(result) : "r"(a), "r"(b));
  return result;
}
JCB_DEVICE float float_of_bits(uint32_t bits) { return __uint_as_float(bits); }
JCB_DEVICE uint32_t bits_of_float(float value) { return __float_as_uint(value); }
JCB_DEVICE uint32_t number_of_bits(uint32_t word) { return static_cast<uint32_t>(__popc(word)); }

JCB_DEVICE void publish() { __threadfence(); }
template <class Value>
JCB_DEVICE Value add_atomically(Value* at, Value value) {
  return atomicAdd(at, value);
}
template <class Value>
JCB_DEVICE Value maximum_atomically(Value* at, Value value) {
  return atomicMax(at, value);
}
JCB_DEVICE uint32_t or_atomically(uint32_t* at, uint32_t bits) { return atomicOr(at, bits); }

}  // namespace jcb::cuda
