// Arrays that begin on a cache line.
#pragma once
#include <cstdint>
#include <memory>

namespace jcb::maxsim {

struct FreeAligned {
  void operator()(void* memory) const;
};
template <class T>
using AlignedArray = std::unique_ptr<T[], FreeAligned>;  // at a multiple of 64 bytes

// Throws std::bad_alloc.
void* allocate_aligned(int64_t bytes, bool zeroed);
template <class T>
AlignedArray<T> make_aligned(int64_t count, bool zeroed = true) {
  return AlignedArray<T>(static_cast<T*>(allocate_aligned(count * static_cast<int64_t>(sizeof(T)), zeroed)));
}

}  // namespace jcb::maxsim
