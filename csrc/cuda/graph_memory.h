// What a recorded graph reads and writes: all of it at fixed places.
#pragma once
#include <cstddef>
#include <cstring>

#include "cuda/device.h"

namespace jcb::cuda {

// Places of arrays of any types in one block of memory, which is copied as a whole.
class Layout {
 public:
  template <class Value>
  size_t add(size_t count) {
    const size_t place = size_;
    size_ = (size_ + count * sizeof(Value) + 255) / 256 * 256;
    return place;
  }
  size_t size() const { return size_; }

 private:
  size_t size_ = 0;
};

// Three blocks on the device: what the host gives, what the kernels hand to each other, and what the host gets. The first
// and the last have their like in pinned memory of the host.
class GraphMemory {
 public:
  GraphMemory(const Layout& inputs, const Layout& work, const Layout& outputs)
      : inputs_(inputs.size()), work_(work.size()), outputs_(outputs.size()), given_(inputs.size()), got_(outputs.size()) {}

  template <class Value>
  Value* input(size_t place) const {
    return reinterpret_cast<Value*>(inputs_.data() + place);
  }
  template <class Value>
  Value* own(size_t place) const {
    return reinterpret_cast<Value*>(work_.data() + place);
  }
  template <class Value>
  Value* output(size_t place) const {
    return reinterpret_cast<Value*>(outputs_.data() + place);
  }
  void begin_to_device(Stream stream) const { cuda::begin_to_device(inputs_.data(), given_.data(), inputs_.size(), stream); }
  void begin_from_device(Stream stream) const { cuda::begin_from_device(got_.data(), outputs_.data(), outputs_.size(), stream); }

  // On the host.
  template <class Value>
  void give(size_t place, const Value* values, size_t count) const {
    if (count != 0) std::memcpy(given_.data() + place, values, count * sizeof(Value));
  }
  template <class Value>
  const Value* got(size_t place) const {
    return reinterpret_cast<const Value*>(got_.data() + place);
  }

 private:
  const DeviceArray<char> inputs_, work_, outputs_;
  const PinnedBytes given_, got_;
};

}  // namespace jcb::cuda
