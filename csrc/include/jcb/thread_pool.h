// A small pool of std::threads. FAISS and torch each bring an OpenMP of their own; this one meets neither.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>

namespace jcb {

// Runs numbered items on up to `threads` threads, the calling one included. Threads start at the first call that has
// more than one item. Several threads may call at once. After a fork the child makes threads of its own.
class ThreadPool {
 public:
  // threads >= 1. 0: the environment's JCB_THREADS, else the number of processors that this process may use,
  // a container's quota of their time included.
  // Throws std::invalid_argument on a JCB_THREADS that is no number from 1 to 1024.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  // Calls run(item) once for every item in 0..items-1, in any order and on any thread; returns when all are done.
  // The first exception is carried to the caller, and items not yet begun are then left out.
  void for_each(int64_t items, const std::function<void(int64_t item)>& run) const;

 private:
  struct Workers;
  Workers& workers() const;

  const int threads_;
  mutable std::atomic<Workers*> workers_{nullptr};
};

}  // namespace jcb
