// The graphs of a search, one for each shape of a call: recorded when first wanted; those used last are kept.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "cuda/device.h"

namespace jcb::cuda {

// Recorded: has its Graph in `graph`, and all memory that this reads and writes. Whoever takes or runs one holds `lock`.
template <class Shape, class Recorded>
class RecordedGraphs {
 public:
  // make(stream): a std::unique_ptr of a new one.
  template <class Make>
  Recorded& take(const Shape& shape, const Make& make) {
    last_ = nullptr;
    const auto known = graphs_.find(shape);
    if (known != graphs_.end()) return known->second.used(++uses_);
    if (graphs_.size() >= kMost) {
      const auto earlier = [](const auto& one, const auto& other) { return one.second.use < other.second.use; };
      graphs_.erase(std::min_element(graphs_.begin(), graphs_.end(), earlier));
    }
    try {
      return keep(shape, make);
    } catch (const DeviceError&) {  // for want of memory, which the other graphs may hold
      if (graphs_.empty()) throw;
      graphs_.clear();
    }
    return keep(shape, make);
  }

  // What the host gave is there before, and what it gets when this returns.
  void run(Recorded& recorded) {
    recorded.graph->run(stream_.get());
    synchronise(stream_.get());
    last_ = &recorded;
  }

  // Seconds of the GPU for each run of the last one again, with its copies to and from the host.
  std::vector<double> time(int repeats) {
    const std::lock_guard<std::mutex> alone(lock);
    std::vector<double> seconds;
    Timer timer;
    for (int i = 0; i < repeats && last_ != nullptr; ++i) {
      timer.begin(stream_.get());
      last_->graph->run(stream_.get());
      seconds.push_back(timer.end(stream_.get()));
    }
    return seconds;
  }

  size_t size() const { return graphs_.size(); }

  std::mutex lock;

 private:
  template <class Make>
  Recorded& keep(const Shape& shape, const Make& make) {
    return graphs_.emplace(shape, Kept{make(stream_.get()), 0}).first->second.used(++uses_);
  }

  struct Kept {
    std::unique_ptr<Recorded> recorded;
    uint64_t use;  // the last one

    Recorded& used(uint64_t now) {
      use = now;
      return *recorded;
    }
  };

  static constexpr size_t kMost = 8;  // each has its own arrays: a score a document and query, for one

  OwnStream stream_;
  std::map<Shape, Kept> graphs_;
  uint64_t uses_ = 0;
  Recorded* last_ = nullptr;  // whose run was the last to end well
};

}  // namespace jcb::cuda
