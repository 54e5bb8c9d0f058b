// The threads of a block, on one thread of the CPU: each is a fiber with a stack of its own, and every barrier, shuffle
// and operation of a warp is a meeting of fibers.
//
// Exact about who exchanges what with whom, and hostile where the machine promises nothing: which thread runs next is
// drawn by lot, whole warps are held back for a while, and a copy to shared memory arrives at once or as late as its
// wait. A missing barrier or wait is thus a wrong result under some seed. Not modelled: time, caches, bank conflicts,
// blocks that run at once (they run one by one), and partial masks of warps.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

// What nvcc calls so. y and z are 0 and 1 here: the kernels are launched along x.
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
struct uint2 {
  uint32_t x, y;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace jcb::cuda::emulation {

constexpr int kLanes = 32;

// A kernel that no GPU would run to its end, or that does what the ISA leaves undefined.
struct KernelFault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Runs `kernel` for every thread of every block. Throws KernelFault where lanes of a warp meet at different operations,
// where a lane has ended that an operation waits for, where nobody can move, and what the kernel throws.
void launch(unsigned blocks, unsigned threads, size_t shared_bytes, uint32_t seed, const std::function<void()>& kernel);

char* shared_memory();      // of the block that runs
size_t shared_size();
bool coin();                // drawn by the seed of the launch

// Waits until all threads of the block are here.
void meet_block(const char* operation);

// Waits until all lanes of the warp are here with an `in` of so many bytes, at most kMostBytes; then the last one calls its
// `act` with the 32 inputs and 32 places for results, side by side, and every lane gets its own into `out`. Threads that a
// fault leaves behind never unwind: hence nothing here that has to be freed.
constexpr size_t kMostBytes = 64;
using Act = void (*)(const void* context, const char* in, char* out);
void meet_warp(const char* operation, const void* in, size_t in_bytes, void* out, size_t out_bytes, Act act,
               const void* context);

// A copy to shared memory that has begun; groups as cp.async has them.
void begin_copy(void* to, const void* from, size_t bytes);
void close_copies();
void wait_for_copies(size_t pending);

// The same with types. act(const In (&)[32], Out (&)[32]).
template <class In, class Out, class Typed>
Out exchange(const char* operation, const In& in, const Typed& act) {
  static_assert(sizeof(In) <= kMostBytes && sizeof(Out) <= kMostBytes);
  Out out{};
  const Act untyped = [](const void* context, const char* all_in, char* all_out) {
    (*static_cast<const Typed*>(context))(*reinterpret_cast<const In(*)[kLanes]>(all_in),
                                          *reinterpret_cast<Out(*)[kLanes]>(all_out));
  };
  meet_warp(operation, &in, sizeof(In), &out, sizeof(Out), untyped, &act);
  return out;
}

}  // namespace jcb::cuda::emulation
