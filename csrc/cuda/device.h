// What host code asks of a GPU: memory, copies, launches. The CUDA runtime under nvcc, and otherwise the emulation, which
// runs the same host code and the same kernels on the CPU.
//
//   Stream                            work goes through it in order; the default one is {}
//   device_count(), device_name(number)
//   DeviceScope                       chooses a device for this thread of the host, as long as it lives
//   multiprocessors(), most_shared_bytes()    of the device in use; the second of a block
//   free_memory(), free_host_memory() bytes that could be allocated: of the device in use, and of the host
//   keep_freed_memory()               some of it, so that allocating again is quick
//   allocate(bytes), release(memory)  at a multiple of 256 bytes; DeviceError where there is too little
//   to_device(to, from, bytes, stream), from_device(to, from, bytes, stream)    have ended when they return
//   begin_to_device(..), begin_from_device(..)    the same, which end in the order of the stream; host memory is pinned
//   set_to_zero(to, bytes, stream)    likewise
//   allocate_pinned(bytes), release_pinned(memory)    of the host; kernels may read it too, at the same address
//   new_stream(), delete_stream(stream)
//   Graph(stream, work)               what `work` does on the stream (launches, copies that begin, zeros), recorded once ...
//   graph.run(stream)                 ... and done, as often as wanted, for what one launch costs
//   synchronise(stream)               waits, and throws DeviceError for what went wrong before
//   Timer                             timer.begin(stream), then timer.end(stream): seconds of the work between
//   launch<kernel>(stream, blocks, threads, shared_bytes, arguments ..)
#pragma once
#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace jcb::cuda {

// What the GPU refused, in its driver's words.
struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace jcb::cuda

#if defined(__CUDACC__)
#include "cuda/device_runtime.h"
#else
#include "cuda/emulation/device_emulated.h"
#endif

namespace jcb::cuda {

// A stream of one's own.
class OwnStream {
 public:
  OwnStream() : stream_(new_stream()) {}
  OwnStream(const OwnStream&) = delete;
  ~OwnStream() { delete_stream(stream_); }
  Stream get() const { return stream_; }

 private:
  Stream stream_;
};

// Bytes of the host that a GPU copies by itself.
class PinnedBytes {
 public:
  explicit PinnedBytes(size_t size) : data_(static_cast<char*>(allocate_pinned(size))) {}
  PinnedBytes(const PinnedBytes&) = delete;
  ~PinnedBytes() { release_pinned(data_); }
  char* data() const { return data_; }

 private:
  char* data_;
};

// An array on the device. Movable, not copyable.
template <class Value>
class DeviceArray {
 public:
  DeviceArray() = default;
  explicit DeviceArray(size_t count) : size_(count), data_(count == 0 ? nullptr : allocate(count * sizeof(Value))) {}
  DeviceArray(const Value* values, size_t count, Stream stream) : DeviceArray(count) {
    if (count != 0) to_device(data_, values, count * sizeof(Value), stream);
  }
  DeviceArray(const std::vector<Value>& values, Stream stream) : DeviceArray(values.data(), values.size(), stream) {}
  DeviceArray(DeviceArray&& other) noexcept { *this = std::move(other); }
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    std::swap(size_, other.size_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~DeviceArray() {
    if (data_ != nullptr) release(data_);
  }

  Value* data() const { return static_cast<Value*>(data_); }
  size_t size() const { return size_; }

 private:
  size_t size_ = 0;
  void* data_ = nullptr;
};

}  // namespace jcb::cuda
