// Search among candidates on the GPU, in one graph: centroids of each query token, their postings, MaxSim of centroids,
// fast scores, exact scores. The host sends queries and gets back a short list; nothing waits for it in between.
#pragma once
#include <cstdint>
#include <vector>

#include "cuda/found.h"
#include "cuda/maxsim.h"
#include "cuda/postings.h"
#include "cuda/recorded_graphs.h"

namespace jcb::cuda {

// As CandidateSettings of jcb_engine/search/candidates/stage.py.
struct ProbeSettings {
  int64_t probes;     // centroids of a query token whose postings are read
  int64_t pool;       // documents that these leave, by their gains: the best of them by MaxSim of centroids ...
  int64_t documents;  // ... are scored
};

constexpr uint32_t kMostTies = 4096;

// What makes one graph different from another.
struct ProbeShape {
  uint32_t queries, pieces, probes, pool, documents;
  bool masked;

  auto operator<=>(const ProbeShape&) const = default;
};

// For one store, which it points to. Several threads may ask; one at a time is served.
class Prober {
 public:
  // view: what `store` was made of; read here, not kept. range_documents: see DevicePostings; 0 chooses. ties: how many
  // documents beyond the pool may have gained as much as its last. Both for tests.
  Prober(const DeviceStore& store, const StoreView& view, uint32_t range_documents = 0, uint32_t ties = kMostTies);
  ~Prober();

  // Whether candidates were found as asked: not of raw vectors, not with more than kMostProbes, k above kMostWanted or
  // all centroids probed, and not where more documents gained alike than the pool has room for. Then `found` is empty,
  // and another way must be taken. Among the candidates, every document that could be one of the k best is found but for
  // those that fast scores misjudge four times as much as the worst of the best 16.
  // mask: as in Scanner::search. std::invalid_argument on NaN or infinity.
  bool search(const float* queries, const int64_t* query_offsets, int64_t query_count, int64_t k,
              const ProbeSettings& settings, const uint8_t* mask, Found& found);
  // Seconds of the GPU for each run of the graph of the last search, with its copies to and from the host.
  std::vector<double> time_graphs(int repeats);

  size_t graphs() const { return graphs_.size(); }

 private:
  struct Recorded;

  const DeviceStore& store_;
  const DevicePostings postings_;
  const uint32_t ties_;
  RecordedGraphs<ProbeShape, Recorded> graphs_;
};

}  // namespace jcb::cuda
