// The library that jcb_engine/kernels/cuda_library.py loads by ctypes: plain functions over host pointers, so that it knows
// neither Python nor torch. Structs are those of jcb/store.h. Failures come back as text, never as exceptions.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "cuda/device.h"
#include "cuda/maxsim.h"
#include "cuda/probe.h"
#include "cuda/scan.h"
#include "jcb/candidates.h"
#include "jcb/store.h"

#define JCB_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

using jcb::cuda::DeviceQueries;
using jcb::cuda::DeviceStore;
using jcb::cuda::StoreOptions;

enum Kind : int32_t { kFine, kCorrupt, kInput, kDevice, kMemory, kBug };

struct Failure {
  int32_t kind;
  char text[500];
};

void tell(Failure* failure, Kind kind, const char* text) {
  failure->kind = kind;
  std::strncpy(failure->text, text, sizeof failure->text - 1);
  failure->text[sizeof failure->text - 1] = '\0';
}

using jcb::cuda::DeviceScope;
using jcb::cuda::Found;

// What a store's handle points to.
struct OpenStore {
  OpenStore(const jcb::StoreView& view, int32_t device, const StoreOptions& options)
      : device(device), store(view, device, options), scanner(store) {}

  const int device;
  const DeviceStore store;
  jcb::cuda::Scanner scanner;
  std::unique_ptr<jcb::cuda::Prober> prober;  // once postings are given
};
OpenStore& open_store(void* pointer) { return *static_cast<OpenStore*>(pointer); }

// Memory goes back to the GPU that it is of. What fails then cannot be told, nor helped.
template <class Value>
void delete_there(void* pointer) {
  Value* const value = static_cast<Value*>(pointer);
  try {
    const DeviceScope scope(value->device);
    delete value;
  } catch (const jcb::cuda::DeviceError&) {
  }
}

template <class Work>
void attempt(Failure* failure, const Work& work) {
  failure->kind = kFine;
  try {
    work();
  } catch (const jcb::CorruptIndex& error) {
    tell(failure, kCorrupt, error.what());
  } catch (const jcb::cuda::DeviceError& error) {
    tell(failure, kDevice, error.what());
  } catch (const std::invalid_argument& error) {
    tell(failure, kInput, error.what());
  } catch (const std::bad_alloc&) {
    tell(failure, kMemory, "too little memory");
  } catch (const std::exception& error) {
    tell(failure, kBug, error.what());
  }
}

jcb::StoreView view_of(const jcb::CodecView& codec, const jcb::SegmentView* segments, int64_t count) {
  jcb::StoreView store;
  store.codec = codec;
  store.segments.assign(segments, segments + count);
  store.segment_starts.push_back(0);
  for (const jcb::SegmentView& segment : store.segments) {
    store.segment_starts.push_back(store.segment_starts.back() + segment.documents);
  }
  return store;
}

// A search's answer as the host takes it: offsets [count + 1] are filled, and the rest waits for jcb_cuda_take.
void* handed_over(std::unique_ptr<Found> found, int64_t* offsets) {
  std::copy(found->offsets.begin(), found->offsets.end(), offsets);
  return found.release();
}

}  // namespace

// Sizes of the structs that both sides have to agree on, one after the other.
JCB_EXPORT void jcb_cuda_sizes(int64_t sizes[4]) {
  sizes[0] = sizeof(jcb::CodecView);
  sizes[1] = sizeof(jcb::SegmentView);
  sizes[2] = sizeof(Failure);
  sizes[3] = sizeof(StoreOptions);
}

// How many GPUs there are, and the name of one of them.
JCB_EXPORT int32_t jcb_cuda_devices(Failure* failure) {
  int32_t count = 0;
  attempt(failure, [&] { count = jcb::cuda::device_count(); });
  return count;
}
JCB_EXPORT void jcb_cuda_name(int32_t device, char name[256], Failure* failure) {
  attempt(failure, [&] {
    std::strncpy(name, jcb::cuda::device_name(device).c_str(), 255);
    name[255] = '\0';
  });
}

JCB_EXPORT void* jcb_cuda_new_store(int32_t device, const jcb::CodecView* codec, const jcb::SegmentView* segments,
                                    int64_t count, const StoreOptions* options, Failure* failure) {
  void* made = nullptr;
  attempt(failure, [&] {
    const DeviceScope scope(device);
    made = new OpenStore(view_of(*codec, segments, count), device, *options);
  });
  return made;
}
// Bytes of tiles that lie in host memory, because they have no room on the GPU; else 0.
JCB_EXPORT int64_t jcb_cuda_bytes_on_host(void* store) {
  const DeviceStore& own = open_store(store).store;
  return own.lies_on_host() ? static_cast<int64_t>(own.tile_bytes()) : 0;
}
JCB_EXPORT void jcb_cuda_delete_store(void* store) { delete_there<OpenStore>(store); }

JCB_EXPORT void* jcb_cuda_new_queries(void* store, const float* queries, const int64_t* query_offsets, int64_t count,
                                      Failure* failure) {
  void* made = nullptr;
  attempt(failure, [&] {
    const DeviceScope scope(open_store(store).device);
    made = new DeviceQueries(open_store(store).store, queries, query_offsets, count);
  });
  return made;
}
JCB_EXPORT void jcb_cuda_delete_queries(void* queries) { delete_there<DeviceQueries>(queries); }

// documents and list_offsets for lists; else null, and range_count ranges. scores: as jcb/candidates.h says.
JCB_EXPORT void jcb_cuda_score(const void* queries, const uint32_t* documents, const int64_t* list_offsets,
                               const int64_t* starts, const int64_t* ends, int64_t range_count, int32_t exact,
                               float* scores, Failure* failure) {
  attempt(failure, [&] {
    const DeviceScope scope(static_cast<const DeviceQueries*>(queries)->device);
    const jcb::Candidates candidates{documents, list_offsets, starts, ends, range_count};
    static_cast<const DeviceQueries*>(queries)->score(candidates, exact != 0, scores);
  });
}

// seconds: [repeats], of fast scores of all documents; 0 where there is nothing to score.
JCB_EXPORT void jcb_cuda_time_scans(const void* queries, int32_t repeats, double* seconds, Failure* failure) {
  attempt(failure, [&] {
    const DeviceScope scope(static_cast<const DeviceQueries*>(queries)->device);
    const std::vector<double> taken = static_cast<const DeviceQueries*>(queries)->time_scans(repeats);
    for (int32_t i = 0; i < repeats; ++i) seconds[i] = taken.empty() ? 0.0 : taken[i];
  });
}

// bounds: [queries].
JCB_EXPORT void jcb_cuda_error_bounds(const void* queries, int64_t count, double* bounds, Failure* failure) {
  attempt(failure, [&] {
    for (int64_t query = 0; query < count; ++query) {
      bounds[query] = static_cast<const DeviceQueries*>(queries)->error_bound(query);
    }
  });
}

// Every document that could be among a query's k best, with its exact score: a handle of what was found, for
// jcb_cuda_take, and offsets [count + 1] into it; null where no list has room for all of them (scan.h).
JCB_EXPORT void* jcb_cuda_search(void* store, const float* queries, const int64_t* query_offsets, int64_t count, int64_t k,
                                 const uint8_t* mask, int64_t* offsets, Failure* failure) {
  void* made = nullptr;
  attempt(failure, [&] {
    const DeviceScope scope(open_store(store).device);
    auto found = std::make_unique<Found>();
    if (!open_store(store).scanner.search(queries, query_offsets, count, k, mask, *found)) return;
    made = handed_over(std::move(found), offsets);
  });
  return made;
}
// Postings of the segments that the store was made of, for jcb_cuda_probe: once, and by one thread.
JCB_EXPORT void jcb_cuda_give_postings(void* store, const jcb::CodecView* codec, const jcb::SegmentView* segments,
                                       int64_t count, Failure* failure) {
  attempt(failure, [&] {
    const DeviceScope scope(open_store(store).device);
    open_store(store).prober = std::make_unique<jcb::cuda::Prober>(open_store(store).store, view_of(*codec, segments, count));
  });
}
// The same among candidates, settings [3] of them as in ProbeSettings: null where that cannot be done (probe.h).
JCB_EXPORT void* jcb_cuda_probe(void* store, const float* queries, const int64_t* query_offsets, int64_t count, int64_t k,
                                const int64_t* settings, const uint8_t* mask, int64_t* offsets, Failure* failure) {
  void* made = nullptr;
  attempt(failure, [&] {
    const DeviceScope scope(open_store(store).device);
    if (open_store(store).prober == nullptr) throw std::logic_error("postings were not given");
    auto found = std::make_unique<Found>();
    const jcb::cuda::ProbeSettings asked{settings[0], settings[1], settings[2]};
    if (!open_store(store).prober->search(queries, query_offsets, count, k, asked, mask, *found)) return;
    made = handed_over(std::move(found), offsets);
  });
  return made;
}
// Copies what was found, and frees it.
JCB_EXPORT void jcb_cuda_take(void* found, uint32_t* documents, float* scores) {
  const std::unique_ptr<Found> own(static_cast<Found*>(found));
  std::copy(own->documents.begin(), own->documents.end(), documents);
  std::copy(own->scores.begin(), own->scores.end(), scores);
}

// seconds: [repeats], of the last search's graph, or of the last one's among candidates; 0 where there was none.
JCB_EXPORT void jcb_cuda_time_searches(void* store, int32_t among_candidates, int32_t repeats, double* seconds,
                                       Failure* failure) {
  attempt(failure, [&] {
    OpenStore& own = open_store(store);
    const DeviceScope scope(own.device);
    std::vector<double> taken;
    if (among_candidates == 0) taken = own.scanner.time_graphs(repeats);
    if (among_candidates != 0 && own.prober != nullptr) taken = own.prober->time_graphs(repeats);
    for (int32_t i = 0; i < repeats; ++i) seconds[i] = taken.empty() ? 0.0 : taken[i];
  });
}
