// device.h on the CPU. Included by it alone.
#pragma once
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "cuda/emulation/threads.h"

namespace jcb::cuda {
namespace emulation {

// The device that is emulated, for tests to set.
struct Settings {
  uint32_t seed = 0;          // of the first launch; each one after it has the next
  int multiprocessors = 2;
  size_t memory = 1ull << 34;         // bytes that all allocations together may have
  size_t free_memory = 1ull << 34, free_host_memory = 1ull << 34;  // what is said of them
  size_t shared_bytes = 99 * 1024;    // of a block, as the smallest GPUs have that are supported
};
inline Settings settings;

// Sizes of what is allocated.
struct Allocations {
  std::mutex lock;
  std::map<void*, size_t> sizes;
  size_t bytes = 0;
};
inline Allocations allocations;

// Where work goes while a graph is recorded, and not into this thread.
inline thread_local std::vector<std::function<void()>>* recording = nullptr;
template <class Work>
void do_or_record(const Work& work) {
  if (recording == nullptr) return work();
  recording->push_back(work);
}
// What a GPU refuses while it records.
inline void check_not_recording(const char* what) {
  if (recording != nullptr) throw DeviceError(std::string(what) + ": not while a graph is recorded");
}

}  // namespace emulation

struct Stream {};

inline int device_count() { return 1; }
inline std::string device_name(int) { return "emulated"; }
struct DeviceScope {
  explicit DeviceScope(int number) {
    if (number != 0) throw DeviceError("choosing the GPU: there is no device " + std::to_string(number));
  }
  ~DeviceScope() {}
};
inline size_t most_shared_bytes() { return emulation::settings.shared_bytes; }
inline size_t free_memory() { return emulation::settings.free_memory; }
inline size_t free_host_memory() { return emulation::settings.free_host_memory; }
inline void keep_freed_memory() {}
inline int multiprocessors() { return emulation::settings.multiprocessors; }

inline Stream new_stream() { return {}; }
inline void delete_stream(Stream) noexcept {}

inline void* allocate(size_t bytes) {
  emulation::check_not_recording("allocating GPU memory");
  const std::lock_guard<std::mutex> alone(emulation::allocations.lock);
  if (emulation::allocations.bytes + bytes > emulation::settings.memory) {
    throw DeviceError("too little GPU memory: " + std::to_string(bytes) + " bytes were asked for, " +
                      std::to_string(emulation::settings.memory - emulation::allocations.bytes) + " are free");
  }
  constexpr size_t kAlignment = 256;
  // Not rounded up: reading past the end is then an error that a sanitizer sees.
  void* memory = nullptr;
  if (posix_memalign(&memory, kAlignment, bytes) != 0) throw DeviceError("too little memory for the emulated GPU");
  std::memset(memory, 0xff, bytes);  // NaN and the largest numbers, not zeros by luck
  emulation::allocations.sizes[memory] = bytes;
  emulation::allocations.bytes += bytes;
  return memory;
}
inline void release(void* memory) noexcept {
  const std::lock_guard<std::mutex> alone(emulation::allocations.lock);
  const auto own = emulation::allocations.sizes.find(memory);
  emulation::allocations.bytes -= own->second;
  emulation::allocations.sizes.erase(own);
  std::free(memory);
}
inline void* allocate_pinned(size_t bytes) { return allocate(bytes); }
inline void release_pinned(void* memory) noexcept { release(memory); }
inline void synchronise(Stream) { emulation::check_not_recording("waiting for the GPU"); }
inline void to_device(void* to, const void* from, size_t bytes, Stream) {
  emulation::check_not_recording("copying to the GPU");
  std::memcpy(to, from, bytes);
}
inline void from_device(void* to, const void* from, size_t bytes, Stream) {
  emulation::check_not_recording("copying from the GPU");
  std::memcpy(to, from, bytes);
}
inline void begin_to_device(void* to, const void* from, size_t bytes, Stream) {
  emulation::do_or_record([=] { std::memcpy(to, from, bytes); });
}
inline void begin_from_device(void* to, const void* from, size_t bytes, Stream) {
  emulation::do_or_record([=] { std::memcpy(to, from, bytes); });
}
inline void set_to_zero(void* to, size_t bytes, Stream) {
  emulation::do_or_record([=] { std::memset(to, 0, bytes); });
}

class Graph {
 public:
  template <class Work>
  Graph(Stream, const Work& work) {
    emulation::recording = &steps_;
    try {
      work();
    } catch (...) {
      emulation::recording = nullptr;
      throw;
    }
    emulation::recording = nullptr;
  }
  Graph(const Graph&) = delete;
  void run(Stream) const {
    for (const auto& step : steps_) step();
  }

 private:
  std::vector<std::function<void()>> steps_;
};

class Timer {
 public:
  void begin(Stream) { begin_ = std::chrono::steady_clock::now(); }
  double end(Stream) { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }

 private:
  std::chrono::steady_clock::time_point begin_;
};

template <auto kKernel, class... Arguments>
void launch(Stream, unsigned blocks, unsigned threads, size_t shared_bytes, const Arguments&... arguments) {
  if (blocks == 0 || blocks > 0x7fffffffu) throw DeviceError("launching a kernel: no grid has so many blocks");
  if (shared_bytes > emulation::settings.shared_bytes) throw DeviceError("asking for shared memory: too much");
  emulation::do_or_record([=] {
    emulation::launch(blocks, threads, shared_bytes, emulation::settings.seed++, [&] { kKernel(arguments...); });
  });
}

}  // namespace jcb::cuda
