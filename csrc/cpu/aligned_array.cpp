#include "cpu/aligned_array.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

namespace jcb::maxsim {

void* allocate_aligned(int64_t bytes, bool zeroed) {
  const size_t size = (static_cast<size_t>(bytes) + 63) / 64 * 64;
  void* memory = std::aligned_alloc(64, std::max<size_t>(size, 64));
  if (memory == nullptr) throw std::bad_alloc();
  return zeroed ? std::memset(memory, 0, size) : memory;
}

void FreeAligned::operator()(void* memory) const { std::free(memory); }

}  // namespace jcb::maxsim
