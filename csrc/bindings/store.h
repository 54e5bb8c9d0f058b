// Python objects that hold arrays alive as long as the views of jcb/store.h point into them.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "bindings/arrays.h"
#include "jcb/candidates.h"
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

  void add_segment(Segment segment, float max_sigma, float max_norm);

  StoreView view;
  Codec codec;
  std::vector<Segment> segments;
  PostingScratchPool scratch;
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
