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

// Blocks on the device: what the host gives, what the kernels hand to each other, of which `counted` is zero when a run
// begins, and what the host gets, of which the first `told` bytes are. The first and the last have their like in pinned
// memory of the host. What becomes zero lies together.
class GraphMemory {
 public:
  GraphMemory(const Layout& inputs, const Layout& work, const Layout& counted, const Layout& outputs, size_t told)
      : outputs_at_(counted.size()),
        zeros_(counted.size() + told),
        inputs_(inputs.size()),
        work_(work.size()),
        results_(counted.size() + outputs.size()),
        given_(inputs.size()),
        got_(outputs.size()) {}

  template <class Value>
  Value* input(size_t place) const {
    return reinterpret_cast<Value*>(inputs_.data() + place);
  }
  template <class Value>
  Value* own(size_t place) const {
    return reinterpret_cast<Value*>(work_.data() + place);
  }
  template <class Value>
  Value* count(size_t place) const {
    return reinterpret_cast<Value*>(results_.data() + place);
  }
  template <class Value>
  Value* output(size_t place) const {
    return reinterpret_cast<Value*>(results_.data() + outputs_at_ + place);
  }
  void begin(Stream stream) const {
    begin_to_device(inputs_.data(), given_.data(), inputs_.size(), stream);
    set_to_zero(results_.data(), zeros_, stream);
  }
  void end(Stream stream) const {
    begin_from_device(got_.data(), results_.data() + outputs_at_, results_.size() - outputs_at_, stream);
  }

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
  const size_t outputs_at_, zeros_;
  const DeviceArray<char> inputs_, work_, results_;
  const PinnedBytes given_, got_;
};

}  // namespace jcb::cuda
