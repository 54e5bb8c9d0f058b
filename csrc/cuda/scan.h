// Search by scanning everything on the GPU: fast scores of all documents, the best of them, exact scores of all that could
// be among the k best, in one graph. The host sends queries and gets back a short list.
#pragma once
#include <cstdint>
#include <vector>

#include "cuda/found.h"
#include "cuda/maxsim.h"
#include "cuda/recorded_graphs.h"

namespace jcb::cuda {

constexpr uint32_t kLeastRoom = 4096;   // documents of a list; four times k where that is more

// What makes one graph different from another: how many queries and pieces, room for how many documents.
struct ScanShape {
  uint32_t queries, pieces, room;
  bool masked;

  auto operator<=>(const ScanShape&) const = default;
};

// For one store, which it points to. Several threads may ask; one at a time is served.
class Scanner {
 public:
  // least_room: of lists, for tests.
  explicit Scanner(const DeviceStore& store, uint32_t least_room = kLeastRoom);
  ~Scanner();

  // Whether everything that could be among the k best was found: not with k above kMostWanted, and not where so many
  // documents score alike that the lists have no room for them. Then `found` is empty, and another way must be taken.
  // mask: bit d & 7 of byte d >> 3 allows document d; null allows all. std::invalid_argument on NaN or infinity.
  bool search(const float* queries, const int64_t* query_offsets, int64_t query_count, int64_t k, const uint8_t* mask,
              Found& found);
  // Seconds of the GPU for each run of the graph of the last search, with its copies to and from the host.
  std::vector<double> time_graphs(int repeats);

  size_t graphs() const { return graphs_.size(); }

 private:
  struct Recorded;

  const DeviceStore& store_;
  const uint32_t least_room_;
  RecordedGraphs<ScanShape, Recorded> graphs_;
};

}  // namespace jcb::cuda
