// The machine operations that the CUDA kernels are written in: PTX under nvcc, an emulation on the CPU otherwise. Kernel
// bodies hold no condition on which it is. What an operation does is said here, once; csrc/tests/test_cuda_machine.cpp
// checks the emulation against the text of the PTX ISA, and tests/kernels/test_cuda_machine.py what nvcc makes of them.
//
// A `pair` is two fp16 values in a 32-bit register, the first in the low half. Fragments lie in the registers of the 32
// lanes of a warp as the PTX ISA says under "Matrix Fragments". All 32 lanes take part in every operation of a warp.
//
//   JCB_KERNEL(threads, blocks)  marks a kernel: threads of a block at most, and blocks that a multiprocessor should hold
//   JCB_DEVICE                   a function that kernels call
//   JCB_ANYWHERE                 one that host code calls as well
//   dynamic_shared()             the block's shared memory, at a multiple of 16 bytes
//   block_barrier()              all threads of the block; what they wrote to shared memory is seen
//   warp_barrier()               all lanes of the warp, likewise
//   shuffle(value, lane), shuffle_xor(value, bits)     the value of another lane of the warp; 4 or 8 bytes
//   ballot(predicate)            bit l is lane l's
//
//   multiply_f16(c, a, b0, b1)   c += a b: m16n8k16, a and b in fp16, c in fp32
//   multiply_i8(c, a, b0, b1)    c += a b: m16n8k32, a and b in i8, c in i32, which wraps
//   load_matrices(r, row)        ldmatrix: four 8x8 matrices of 16-bit values from shared memory; lane 8m + i names row i
//                                of matrix m, 16 bytes at a multiple of 16
//   copy_16(to, from), copy_16_if(wanted, to, from)    begins to copy 16 bytes from global to shared memory
//   close_copies()               the copies begun since the last one are a group
//   wait_for_copies<n>()         until all but the n latest groups of this thread have arrived; other threads see them
//                                after a barrier
//   load_once(from)              16 bytes that are read once: they need not stay in the cache
//   permute_bytes(low, high, selector)   prmt: byte i of the result is byte (nibble i & 7) of high:low; with bit 3 of the
//                                nibble, that byte's sign eight times
//   pair_of(low, high), low_of(pair), high_of(pair), low_twice(pair), high_twice(pair)
//   pair_fma(a, b, c), pair_multiply(a, b), pair_add(a, b), pair_maximum(a, b)     fp16, rounded to nearest even; a maximum
//                                with one NaN is the other operand
//   float_of_bits(bits), bits_of_float(value), number_of_bits(word)
//   publish()                    what this thread wrote before, to global memory, is seen by whoever sees what it writes
//                                after
//   add_atomically(at, value), maximum_atomically(at, value), or_atomically(at, bits)     what was there before
#pragma once
#include <cstdint>

#if defined(__CUDACC__)
#include "cuda/machine_ptx.h"
#else
#include "cuda/emulation/machine_emulated.h"
#endif
