// device.h by the CUDA runtime. Included by it alone.
#pragma once
#include <cuda_runtime.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace jcb::cuda {

using Stream = cudaStream_t;

inline void check(cudaError_t result, const char* what) {
  if (result == cudaSuccess) return;
  cudaGetLastError();  // or the next launch would report it again
  throw DeviceError(std::string(what) + ": " + cudaGetErrorString(result) + " (" + cudaGetErrorName(result) + ")");
}

inline int device_count() {
  int count = 0;
  check(cudaGetDeviceCount(&count), "looking for GPUs");
  return count;
}
inline std::string device_name(int number) {
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, number), "asking for the GPU's name");
  if (properties.major < 8) {
    throw DeviceError(std::string(properties.name) + " has compute capability " + std::to_string(properties.major) + "." +
                      std::to_string(properties.minor) + "; the CUDA kernels need 8.0 or more");
  }
  return properties.name;
}
class DeviceScope {
 public:
  explicit DeviceScope(int number) {
    check(cudaGetDevice(&before_), "asking for the current GPU");
    check(cudaSetDevice(number), "choosing the GPU");
  }
  DeviceScope(const DeviceScope&) = delete;
  ~DeviceScope() {
    if (cudaSetDevice(before_) != cudaSuccess) cudaGetLastError();
  }

 private:
  int before_ = 0;
};

inline size_t most_shared_bytes() {
  int device = 0, bytes = 0;
  check(cudaGetDevice(&device), "asking for the current GPU");
  check(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device), "asking for its shared memory");
  return static_cast<size_t>(bytes);
}

inline size_t free_memory() {
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "asking for free GPU memory");
  return free;
}

// What Linux calls available, which counts caches of files that it would drop, and no more than a container is granted.
// Without either file: no limit, and an allocation that fails says so.
inline size_t free_host_memory() {
  size_t free = std::numeric_limits<size_t>::max(), bytes = 0;
  std::ifstream memory("/proc/meminfo");
  for (std::string name, unit; memory >> name >> bytes;) {
    if (name == "MemAvailable:") free = bytes * 1024;
    std::getline(memory, unit);
  }
  if (std::ifstream("/sys/fs/cgroup/memory.max") >> bytes) free = std::min(free, bytes);
  return free;
}

// Some virtual GPUs have no pools of memory.
inline bool has_memory_pool() {
  int device = 0, has = 0;
  check(cudaGetDevice(&device), "asking for the current GPU");
  check(cudaDeviceGetAttribute(&has, cudaDevAttrMemoryPoolsSupported, device), "asking for the GPU's memory pool");
  return has != 0;
}

inline void keep_freed_memory() {
  if (!has_memory_pool()) return;
  int device = 0;
  cudaMemPool_t pool = nullptr;
  uint64_t bytes = uint64_t{256} << 20;
  check(cudaGetDevice(&device), "asking for the current GPU");
  check(cudaDeviceGetDefaultMemPool(&pool, device), "asking for the GPU's memory pool");
  check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &bytes), "keeping freed memory");
}

inline int multiprocessors() {
  int device = 0, count = 0;
  check(cudaGetDevice(&device), "asking for the current GPU");
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device), "asking for the multiprocessors");
  return count;
}

// From the device's pool, in the order of the default stream: cudaMalloc would wait for the GPU.
inline void* allocate(size_t bytes) {
  void* memory = nullptr;
  const cudaError_t result = has_memory_pool() ? cudaMallocAsync(&memory, bytes, nullptr) : cudaMalloc(&memory, bytes);
  if (result == cudaErrorMemoryAllocation) {
    size_t free = 0, total = 0;
    cudaGetLastError();
    cudaMemGetInfo(&free, &total);
    throw DeviceError("too little GPU memory: " + std::to_string(bytes) + " bytes were asked for, " + std::to_string(free) +
                      " of " + std::to_string(total) + " are free");
  }
  check(result, "allocating GPU memory");
  return memory;
}
// Nothing to throw from a destructor: after an error that cannot be undone, the process ends its use of the GPU anyway.
inline void release(void* memory) noexcept {
  if (cudaFreeAsync(memory, nullptr) == cudaSuccess) return;
  cudaGetLastError();
  if (cudaFree(memory) != cudaSuccess) cudaGetLastError();  // where it came from no pool
}

inline void synchronise(Stream stream) { check(cudaStreamSynchronize(stream), "waiting for the GPU"); }
inline void to_device(void* to, const void* from, size_t bytes, Stream stream) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream), "copying to the GPU");
  synchronise(stream);
}
inline void from_device(void* to, const void* from, size_t bytes, Stream stream) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream), "copying from the GPU");
  synchronise(stream);
}

inline Stream new_stream() {
  Stream stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
  return stream;
}
inline void delete_stream(Stream stream) noexcept {
  if (cudaStreamDestroy(stream) != cudaSuccess) cudaGetLastError();
}
inline void* allocate_pinned(size_t bytes) {
  void* memory = nullptr;  // mapped for every GPU, as all of it is under unified addressing
  check(cudaHostAlloc(&memory, bytes, cudaHostAllocPortable | cudaHostAllocMapped), "allocating pinned memory");
  return memory;
}
inline void release_pinned(void* memory) noexcept {
  if (cudaFreeHost(memory) != cudaSuccess) cudaGetLastError();
}
// Whether work is only looked at for its kernels, which are loaded then: a driver loads a kernel when it is first launched,
// and while a graph is recorded it need not be able to.
inline thread_local bool only_loads = false;

inline void begin_to_device(void* to, const void* from, size_t bytes, Stream stream) {
  if (only_loads) return;
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream), "copying to the GPU");
}
inline void begin_from_device(void* to, const void* from, size_t bytes, Stream stream) {
  if (only_loads) return;
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream), "copying from the GPU");
}
inline void set_to_zero(void* to, size_t bytes, Stream stream) {
  if (only_loads) return;
  check(cudaMemsetAsync(to, 0, bytes, stream), "setting memory to zero");
}

class Graph {
 public:
  template <class Work>
  Graph(Stream stream, const Work& work) {
    load(work);
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "recording a graph");
    cudaGraph_t graph = nullptr;
    try {
      work();
    } catch (...) {
      if (cudaStreamEndCapture(stream, &graph) != cudaSuccess) cudaGetLastError();
      if (graph != nullptr) cudaGraphDestroy(graph);
      throw;
    }
    check(cudaStreamEndCapture(stream, &graph), "recording a graph");
    const cudaError_t result = cudaGraphInstantiateWithFlags(&ready_, graph, 0);
    cudaGraphDestroy(graph);
    check(result, "making a graph ready");
  }
  Graph(const Graph&) = delete;
  ~Graph() {
    if (cudaGraphExecDestroy(ready_) != cudaSuccess) cudaGetLastError();
  }
  void run(Stream stream) const { check(cudaGraphLaunch(ready_, stream), "launching a graph"); }

 private:
  template <class Work>
  static void load(const Work& work) {
    only_loads = true;
    try {
      work();
    } catch (...) {
      only_loads = false;
      throw;
    }
    only_loads = false;
  }

  cudaGraphExec_t ready_ = nullptr;
};

class Timer {
 public:
  Timer() {
    check(cudaEventCreate(&begin_), "making an event");
    check(cudaEventCreate(&end_), "making an event");
  }
  Timer(const Timer&) = delete;
  ~Timer() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }
  void begin(Stream stream) { check(cudaEventRecord(begin_, stream), "recording an event"); }
  double end(Stream stream) {
    float milliseconds = 0.0f;
    check(cudaEventRecord(end_, stream), "recording an event");
    check(cudaEventSynchronize(end_), "waiting for the GPU");
    check(cudaEventElapsedTime(&milliseconds, begin_, end_), "reading the time");
    return milliseconds / 1000.0;
  }

 private:
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

template <auto kKernel, class... Arguments>
void launch(Stream stream, unsigned blocks, unsigned threads, size_t shared_bytes, const Arguments&... arguments) {
  constexpr size_t kWithoutAsking = 48 * 1024;
  if (shared_bytes > kWithoutAsking) {
    check(cudaFuncSetAttribute(kKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)),
          "asking for shared memory");
  }
  if (only_loads) {
    cudaFuncAttributes attributes;
    check(cudaFuncGetAttributes(&attributes, kKernel), "loading a kernel");
    return;
  }
  kKernel<<<blocks, threads, shared_bytes, stream>>>(arguments...);
  check(cudaGetLastError(), "launching a kernel");
}

}  // namespace jcb::cuda
