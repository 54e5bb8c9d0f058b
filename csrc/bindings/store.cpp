#include "bindings/store.h"

#include <nanobind/stl/optional.h>

#include <stdexcept>

namespace jcb::bindings {

Codec::Codec(int nbits, Input<float, 2> centroids, Input<float, 1> cutoffs, Input<float, 1> levels, float norm_scale)
    : centroids(std::move(centroids)), cutoffs(std::move(cutoffs)), levels(std::move(levels)) {
  view.dim = size_of(this->centroids, 1);
  view.nbits = nbits;
  view.centroid_count = size_of(this->centroids);
  view.centroids = this->centroids.data();
  view.cutoffs = this->cutoffs.data();
  view.levels = this->levels.data();
  view.norm_scale = norm_scale;
}

Store::Store(const Codec& codec) : codec(codec) {
  view.codec = codec.view;
  view.segment_starts.push_back(0);
}

Store::~Store() {
  for (const auto& kept : byte_centroids_) DeleteByteCentroids()(kept.load());
}

void Store::add_segment(Segment segment, float max_sigma, float max_norm) {
  SegmentView segment_view;
  segment_view.documents = size_of(segment.doc_offsets) - 1;
  segment_view.tokens = size_of(segment.codes);
  segment_view.doc_offsets = segment.doc_offsets.data();
  segment_view.codes = segment.codes.data();
  segment_view.centroid_ids_16 = segment.centroid_ids_16 ? segment.centroid_ids_16->data() : nullptr;
  segment_view.centroid_ids_32 = segment.centroid_ids_32 ? segment.centroid_ids_32->data() : nullptr;
  segment_view.sigmas = segment.sigmas.data();
  segment_view.norms = segment.norms.data();
  segment_view.posting_offsets = segment.posting_offsets.data();
  segment_view.posting_documents = segment.posting_documents.data();
  segment_view.posting_count = size_of(segment.posting_documents);
  segment_view.max_sigma = max_sigma;
  segment_view.max_norm = max_norm;
  view.segments.push_back(segment_view);
  view.segment_starts.push_back(view.segment_starts.back() + segment_view.documents);
  segments.push_back(std::move(segment));
}

// try_lock, because a mutex that was held during a fork stays locked in the child: then calls are prepared anew.
void Store::remember(const std::shared_ptr<const PreparedCall>& call) {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock()) return;
  std::erase_if(calls_, [](const auto& known) { return known.expired(); });
  calls_.push_back(call);
}

std::shared_ptr<const PreparedCall> Store::find(const Machine& machine, const float* queries,
                                                const int64_t* query_offsets, int64_t query_count) {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock()) return nullptr;
  for (const auto& known : calls_) {
    std::shared_ptr<const PreparedCall> call = known.lock();
    if (call != nullptr && call->is_for(machine, queries, query_offsets, query_count)) return call;
  }
  return nullptr;
}

const maxsim::ByteCentroids* Store::byte_centroids(const Machine& machine) {
  auto& kept = byte_centroids_[static_cast<int>(machine.instruction_set)];
  if (const maxsim::ByteCentroids* known = kept.load()) return known;
  auto made = make_byte_centroids(machine, view.codec);
  const maxsim::ByteCentroids* other = nullptr;
  if (made != nullptr && kept.compare_exchange_strong(other, made.get())) return made.release();
  return other;
}

double Store::longest(const Machine& machine) {
  if (longest_ == 0.0) longest_ = longest_centroid(view.codec, &machine.pool);
  return longest_;
}

Table::Table(const Machine& machine, Store& store, const float* queries, int64_t query_tokens, bool exact)
    : store_(&store), queries_(queries, queries + query_tokens * store.view.codec.dim) {
  if (const maxsim::ByteCentroids* bytes = exact ? nullptr : store.byte_centroids(machine)) {
    scores_ = std::make_shared<const CentroidTable>(machine, *bytes, queries, query_tokens);
  } else {
    const double longest = store.longest(machine);
    scores_ = std::make_shared<const CentroidTable>(machine, store.view.codec, queries, query_tokens, longest);
  }
}

std::shared_ptr<const PreparedCall> Table::prepared(const Machine& machine, const float* queries,
                                                    const int64_t* query_offsets, int64_t query_count) {
  if (query_offsets[query_count] != scores_->tokens() || !same_bits(queries_, queries)) {
    throw std::invalid_argument("the table of centroid scores was made for other queries");
  }
  const std::lock_guard lock(mutex_);
  if (call_ == nullptr || !call_->is_for(machine, queries, query_offsets, query_count)) {
    // What was prepared may outlive the table object, where score_error_bound has found it: it keeps the scores alive.
    struct Prepared {
      std::shared_ptr<const CentroidTable> scores;
      PreparedCall call;
    };
    const auto prepared = std::make_shared<const Prepared>(
        Prepared{scores_, {machine, store_->view.codec, queries, query_offsets, query_count, scores_->view()}});
    call_ = std::shared_ptr<const PreparedCall>(prepared, &prepared->call);
    if (scores_->is_exact()) store_->remember(call_);  // others have no bound
  }
  return call_;
}

CandidateArrays lists(Input<uint32_t, 1> documents, Input<int64_t, 1> list_offsets) {
  CandidateArrays arrays;
  arrays.view.documents = documents.data();
  arrays.view.list_offsets = list_offsets.data();
  arrays.documents = std::move(documents);
  arrays.list_offsets = std::move(list_offsets);
  return arrays;
}

CandidateArrays ranges(Input<int64_t, 1> starts, Input<int64_t, 1> ends) {
  CandidateArrays arrays;
  arrays.view.starts = starts.data();
  arrays.view.ends = ends.data();
  arrays.view.range_count = size_of(starts);
  arrays.starts = std::move(starts);
  arrays.ends = std::move(ends);
  return arrays;
}

void register_store(nb::module_& module) {
  using nb::literals::operator""_a;
  nb::class_<Codec>(module, "Codec")
      .def(nb::init<int, Input<float, 2>, Input<float, 1>, Input<float, 1>, float>(), "nbits"_a, "centroids"_a,
           "cutoffs"_a, "levels"_a, "norm_scale"_a);
  nb::class_<Store>(module, "Store")
      .def(nb::init<const Codec&>(), "codec"_a)
      .def(
          "add_segment",
          [](Store& store, Input<int64_t, 1> doc_offsets, Input<uint8_t, 2> codes,
             std::optional<Input<uint16_t, 1>> centroid_ids_16, std::optional<Input<uint32_t, 1>> centroid_ids_32,
             Input<uint16_t, 1> sigmas, Input<uint16_t, 1> norms, Input<int64_t, 1> posting_offsets,
             Input<uint32_t, 1> posting_documents, float max_sigma, float max_norm) {
            store.add_segment({std::move(doc_offsets), std::move(codes), std::move(centroid_ids_16),
                               std::move(centroid_ids_32), std::move(sigmas), std::move(norms),
                               std::move(posting_offsets), std::move(posting_documents)},
                              max_sigma, max_norm);
          },
          "doc_offsets"_a, "codes"_a, "centroid_ids_16"_a.none(), "centroid_ids_32"_a.none(), "sigmas"_a, "norms"_a,
          "posting_offsets"_a, "posting_documents"_a, "max_sigma"_a, "max_norm"_a);
  nb::class_<CandidateArrays>(module, "Candidates")
      .def_static("lists", &lists, "documents"_a, "list_offsets"_a)
      .def_static("ranges", &ranges, "starts"_a, "ends"_a);
}

}  // namespace jcb::bindings
