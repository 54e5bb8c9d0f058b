// Every operation of cuda/machine.h in a kernel of its own, for the compiler: tests/kernels/test_cuda_machine.py reads what
// nvcc makes of it.
#include "cuda/machine.h"

namespace cuda = jcb::cuda;

#define JCB_OPERATION(name) extern "C" JCB_KERNEL(128, 1) name

JCB_OPERATION(block_barrier)() { cuda::block_barrier(); }
JCB_OPERATION(warp_barrier)() { cuda::warp_barrier(); }
JCB_OPERATION(shuffle)(float* x) { x[threadIdx.x] = cuda::shuffle(x[threadIdx.x], 3); }
JCB_OPERATION(shuffle_xor)(uint32_t* x) { x[threadIdx.x] = cuda::shuffle_xor(x[threadIdx.x], 4); }
JCB_OPERATION(ballot)(uint32_t* x) { x[threadIdx.x] = cuda::ballot(x[threadIdx.x] > 7); }
JCB_OPERATION(multiply_f16)(float* c, const uint32_t* a) {
  float sums[4] = {c[0], c[1], c[2], c[3]};
  const uint32_t own[4] = {a[0], a[1], a[2], a[3]};
  cuda::multiply_f16(sums, own, a[4], a[5]);
  for (int i = 0; i < 4; ++i) c[i] = sums[i];
}
JCB_OPERATION(multiply_i8)(int32_t* c, const uint32_t* a) {
  int32_t sums[4] = {c[0], c[1], c[2], c[3]};
  const uint32_t own[4] = {a[0], a[1], a[2], a[3]};
  cuda::multiply_i8(sums, own, a[4], a[5]);
  for (int i = 0; i < 4; ++i) c[i] = sums[i];
}
JCB_OPERATION(load_matrices)(uint32_t* x) {
  uint32_t registers[4];
  cuda::load_matrices(registers, cuda::dynamic_shared() + 16 * threadIdx.x);
  for (int i = 0; i < 4; ++i) x[4 * threadIdx.x + i] = registers[i];
}
JCB_OPERATION(copy_16)(const uint4* from) { cuda::copy_16(cuda::dynamic_shared() + 16 * threadIdx.x, from + threadIdx.x); }
JCB_OPERATION(copy_16_if)(const uint4* from) {
  cuda::copy_16_if(threadIdx.x < 9, cuda::dynamic_shared() + 16 * threadIdx.x, from + threadIdx.x);
}
JCB_OPERATION(close_copies)() { cuda::close_copies(); }
JCB_OPERATION(wait_for_copies)() { cuda::wait_for_copies<2>(); }
JCB_OPERATION(load_once)(uint4* to, const uint4* from) { to[threadIdx.x] = cuda::load_once(from + threadIdx.x); }
JCB_OPERATION(permute_bytes)(uint32_t* x) { x[0] = cuda::permute_bytes(x[1], x[2], x[3]); }
JCB_OPERATION(pair_of)(uint32_t* to, const float* x) { to[0] = cuda::pair_of(x[0], x[1]); }
JCB_OPERATION(low_of)(float* to, const uint32_t* x) { to[0] = cuda::low_of(x[0]); }
JCB_OPERATION(high_of)(float* to, const uint32_t* x) { to[0] = cuda::high_of(x[0]); }
JCB_OPERATION(low_twice)(uint32_t* x) { x[0] = cuda::low_twice(x[1]); }
JCB_OPERATION(high_twice)(uint32_t* x) { x[0] = cuda::high_twice(x[1]); }
JCB_OPERATION(pair_fma)(uint32_t* x) { x[0] = cuda::pair_fma(x[1], x[2], x[3]); }
JCB_OPERATION(pair_multiply)(uint32_t* x) { x[0] = cuda::pair_multiply(x[1], x[2]); }
JCB_OPERATION(pair_add)(uint32_t* x) { x[0] = cuda::pair_add(x[1], x[2]); }
JCB_OPERATION(pair_maximum)(uint32_t* x) { x[0] = cuda::pair_maximum(x[1], x[2]); }
JCB_OPERATION(float_of_bits)(float* to, const uint32_t* x) { to[0] = cuda::float_of_bits(x[0]) + 1.0f; }
JCB_OPERATION(bits_of_float)(uint32_t* to, const float* x) { to[0] = cuda::bits_of_float(x[0] + 1.0f); }
JCB_OPERATION(number_of_bits)(uint32_t* x) { x[0] = cuda::number_of_bits(x[1]); }
JCB_OPERATION(publish)(uint32_t* x) {
  x[0] = 1;
  cuda::publish();
  x[1] = 2;
}
JCB_OPERATION(add_atomically)(uint32_t* x) { x[1] = cuda::add_atomically(x, threadIdx.x); }
JCB_OPERATION(maximum_atomically)(unsigned long long* x) { x[1] = cuda::maximum_atomically(x, x[2]); }
JCB_OPERATION(or_atomically)(uint32_t* x) { x[1] = cuda::or_atomically(x, 1u << threadIdx.x); }
