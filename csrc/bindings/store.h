// Python objects that hold arrays alive as long as the views of jcb/store.h point into them.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "bindings/arrays.h"
#include "jcb/candidates.h"
#include "jcb/centroid_table.h"
#include "jcb/maxsim_store.h"
#include "jcb/postings.h"
#include "jcb/store.h"

namespace jcb::bindings {

// Shapes are the caller's concern (jcb_engine/kernels/cpu.py checks them), element types the binding's.
struct Codec {
  Codec(int nbits, Input<float, 2> centroids, Input<float, 1> cutoffs, Input<float, 1> levels, float norm_scale);

  CodecView view;
  Input<float, 2> centroids;
  Input<float, 1> cutoffs, levels;
};

struct Segment {
  Input<int64_t, 1> doc_offsets;
  Input<uint8_t, 2> codes;  // raw vectors as bytes
  std::optional<Input<uint16_t, 1>> centroid_ids_16;
  std::optional<Input<uint32_t, 1>> centroid_ids_32;
  Input<uint16_t, 1> sigmas, norms;
  Input<int64_t, 1> posting_offsets;
  Input<uint32_t, 1> posting_documents;
};

struct Store {
  explicit Store(const Codec& codec);
  ~Store();

  void add_segment(Segment segment, float max_sigma, float max_norm);

  StoreView view;
  Codec codec;
  std::vector<Segment> segments;
  PostingScratchPool scratch;

  // The prepared calls of tables that are alive, so that score_error_bound, which is not given the table, finds the one
  // that has been prepared already.
  void remember(const std::shared_ptr<const PreparedCall>& call);
  std::shared_ptr<const PreparedCall> find(const Machine& machine, const float* queries, const int64_t* query_offsets,
                                           int64_t query_count);

  // byte_centroids and longest_centroid of this store, kept for the next call. Null where there are none.
  const maxsim::ByteCentroids* byte_centroids(const Machine& machine);
  double longest(const Machine& machine);

 private:
  std::mutex mutex_;
  std::vector<std::weak_ptr<const PreparedCall>> calls_;
  // Set once each, without a lock that a fork could leave locked. Where threads make the same, the first is kept.
  std::atomic<const maxsim::ByteCentroids*> byte_centroids_[kInstructionSets] = {};
  std::atomic<double> longest_ = 0.0;
};

// Centroid scores of the queries of one call, and what is prepared from them once they are used.
class Table {
 public:
  Table(const Machine& machine, Store& store, const float* queries, int64_t query_tokens, bool exact);

  const CentroidTable& scores() const { return *scores_; }
  bool is_of(const Store& store) const { return store_ == &store; }

  // Throws std::invalid_argument when the table was made for other queries.
  std::shared_ptr<const PreparedCall> prepared(const Machine& machine, const float* queries,
                                               const int64_t* query_offsets, int64_t query_count);

 private:
  Store* store_;  // the Python object keeps it alive
  std::vector<float> queries_;
  std::shared_ptr<const CentroidTable> scores_;
  std::mutex mutex_;
  std::shared_ptr<const PreparedCall> call_;
};

struct CandidateArrays {
  Candidates view;
  std::optional<Input<uint32_t, 1>> documents;
  std::optional<Input<int64_t, 1>> list_offsets, starts, ends;
};

CandidateArrays lists(Input<uint32_t, 1> documents, Input<int64_t, 1> list_offsets);
CandidateArrays ranges(Input<int64_t, 1> starts, Input<int64_t, 1> ends);

void register_store(nb::module_& module);

}  // namespace jcb::bindings
