#include "jcb/thread_pool.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <fstream>
#include <limits>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace jcb {
namespace {

constexpr int kMaxThreads = 1024;

// How long a thread looks for what it waits for before it sleeps: the operations of a search follow each other within a
// tenth of a millisecond, and waking takes a good part of that. Of the helpers of a pool so many do at a time and the
// others sleep, so that many cores do not burn for one query.
constexpr std::chrono::microseconds kSpin{60};
constexpr int kMostSpinning = 15;

template <class Condition>
bool spin_until(const Condition& condition) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 16; ++i) {
      if (condition()) return true;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#elif defined(__aarch64__)
      __asm__ volatile("yield");
#endif
    }
  } while (std::chrono::steady_clock::now() < end);
  return condition();
}

// Processors' worth of time that a container's quota grants, rounded up; INT_MAX without one. More threads than that do
// not add work, but use the quota up and are all stopped for the rest of its period.
int granted_processors() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");  // cgroup v2: "max 100000", or "200000 100000" for two processors
  double quota = 0.0, period = 0.0;
  if (!(file >> quota >> period) || quota <= 0.0 || period <= 0.0) return std::numeric_limits<int>::max();
  return static_cast<int>(std::min(std::ceil(quota / period), 1e6));
}

int usable_processors() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  int count = static_cast<int>(std::thread::hardware_concurrency());
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) count = CPU_COUNT(&allowed);
  return std::max(1, std::min(count, granted_processors()));
}

int default_threads() {
  const char* text = std::getenv("JCB_THREADS");
  if (text == nullptr || *text == '\0') return usable_processors();
  int threads = 0;
  const char* end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, threads);
  if (error != std::errc() || stop != end || threads < 1 || threads > kMaxThreads) {
    throw std::invalid_argument("JCB_THREADS is \"" + std::string(text) + "\"; allowed is a number from 1 to 1024");
  }
  return threads;
}

// One call of for_each. Lives until the last thread that saw it lets go of it; `run` is only touched by a thread that
// claimed an item, and for_each does not return before all claimed items are completed.
struct Job {
  const std::function<void(int64_t)>* run;
  int64_t items;
  std::atomic<int64_t> next{0};
  std::atomic<int64_t> completed{0};
  std::atomic<bool> failed{false};
  std::exception_ptr error;
  std::mutex mutex;
  std::condition_variable all_completed;

  bool exhausted() const { return next.load(std::memory_order_relaxed) >= items; }

  void work() {
    int64_t done = 0;
    for (int64_t item = next.fetch_add(1); item < items; item = next.fetch_add(1), ++done) {
      if (failed.load(std::memory_order_relaxed)) continue;
      try {
        (*run)(item);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!failed.exchange(true)) error = std::current_exception();
      }
    }
    if (done > 0 && completed.fetch_add(done) + done == items) {
      const std::lock_guard lock(mutex);
      all_completed.notify_all();
    }
  }

  void wait() {
    if (spin_until([this] { return completed.load() == items; })) return;
    std::unique_lock lock(mutex);
    all_completed.wait(lock, [this] { return completed.load() == items; });
  }
};

}  // namespace

// The threads of one process. A fork leaves the child a copy of this memory and none of the threads.
struct ThreadPool::Workers {
  explicit Workers(int count) : process(getpid()) {
    threads.reserve(count);
    try {
      for (int i = 0; i < count; ++i) threads.emplace_back([this] { serve(); });
    } catch (...) {
      stop();
      throw;
    }
  }

  ~Workers() { stop(); }

  void stop() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
      ++changes;
    }
    job_added.notify_all();
    for (std::thread& thread : threads) thread.join();
  }

  void serve() {
    std::unique_lock lock(mutex);
    while (true) {
      if (jobs.empty() && !stopping && spinning < kMostSpinning) {
        const uint64_t seen = changes.load();
        ++spinning;
        lock.unlock();
        const bool changed = spin_until([&] { return changes.load() != seen; });
        lock.lock();
        --spinning;
        if (changed) continue;  // to a job, or to more spinning where it was over before this thread saw it
      }
      job_added.wait(lock, [this] { return stopping || !jobs.empty(); });
      if (stopping) return;
      const std::shared_ptr<Job> job = jobs.front();
      if (job->exhausted()) {
        jobs.pop_front();
        continue;
      }
      lock.unlock();
      job->work();
      lock.lock();
    }
  }

  void add(const std::shared_ptr<Job>& job) {
    {
      const std::lock_guard lock(mutex);
      jobs.push_back(job);
      ++changes;
    }
    job_added.notify_all();
  }

  void remove(const std::shared_ptr<Job>& job) {
    const std::lock_guard lock(mutex);
    std::erase(jobs, job);
  }

  const pid_t process;
  std::mutex mutex;
  std::condition_variable job_added;
  std::deque<std::shared_ptr<Job>> jobs;
  bool stopping = false;
  int spinning = 0;
  std::atomic<uint64_t> changes{0};  // of the two above, for those that look without the mutex
  std::vector<std::thread> threads;
};

ThreadPool::ThreadPool(int threads) : threads_(threads == 0 ? default_threads() : threads) {
  if (threads_ < 1 || threads_ > kMaxThreads) {
    throw std::invalid_argument("threads is " + std::to_string(threads) + "; allowed is a number from 1 to 1024");
  }
}

ThreadPool::~ThreadPool() {
  Workers* workers = workers_.load();
  // A forked child cannot join threads that it does not have; it leaves the copy of their state alone.
  if (workers != nullptr && workers->process == getpid()) delete workers;
}

ThreadPool::Workers& ThreadPool::workers() const {
  Workers* current = workers_.load();
  if (current != nullptr && current->process == getpid()) return *current;
  auto fresh = std::make_unique<Workers>(threads_ - 1);
  if (workers_.compare_exchange_strong(current, fresh.get())) return *fresh.release();
  return *current;  // another thread of this process was quicker
}

void ThreadPool::for_each(int64_t items, const std::function<void(int64_t)>& run) const {
  if (items <= 1 || threads_ == 1) {
    for (int64_t item = 0; item < items; ++item) run(item);
    return;
  }
  auto job = std::make_shared<Job>();
  job->run = &run;
  job->items = items;
  Workers& helpers = workers();
  helpers.add(job);
  job->work();
  helpers.remove(job);
  job->wait();
  if (job->failed) std::rethrow_exception(job->error);
}

}  // namespace jcb
