// jcb_engine.kernels._cpu: hands numpy arrays to the kernels, without the GIL. The adapter, jcb_engine/kernels/cpu.py,
// checks shapes and makes the arrays that results are written to; jcb_engine/kernels/_cpu.pyi lists the signatures.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include <exception>
#include <stdexcept>

#include "bindings/store.h"
#include "jcb/centroid_lists.h"
#include "jcb/centroids.h"
#include "jcb/codec.h"
#include "jcb/machine.h"
#include "jcb/maxsim_store.h"
#include "jcb/maxsim_vectors.h"

namespace jcb::bindings {
namespace {

using nb::literals::operator""_a;
using Unlocked = nb::gil_scoped_release;

nb::tuple accumulate(const Machine& machine, Store& store, Input<int64_t, 2> centroid_ids, Input<float, 2> scores,
                     Input<float, 1> frontier, Input<int64_t, 1> query_offsets, int64_t limit,
                     std::optional<Input<uint8_t, 1>> mask) {
  const Probes probes{size_of(centroid_ids, 1), centroid_ids.data(), scores.data(), frontier.data()};
  RankedDocuments ranked;
  {
    const Unlocked unlocked;
    ranked = accumulate_postings(machine, store.view, store.scratch, probes, query_offsets.data(),
                                 size_of(query_offsets) - 1, limit, mask ? mask->data() : nullptr);
  }
  return nb::make_tuple(to_numpy(std::move(ranked.documents)), to_numpy(std::move(ranked.list_offsets)),
                        to_numpy(std::move(ranked.scores)));
}

RaggedView ragged(const Input<float, 2>& values, const Input<int64_t, 1>& offsets) {
  return {values.data(), offsets.data(), size_of(offsets) - 1};
}

void register_building(nb::module_& module) {
  module.def(
      "nearest_centroids",
      [](const Machine& machine, Input<float, 2> vectors, Input<float, 2> centroids, int64_t count,
         Array<int64_t, 2> ids, Array<float, 2> scores) {
        const Unlocked unlocked;
        nearest_centroids(machine, vectors.data(), size_of(vectors), centroids.data(), size_of(centroids),
                          size_of(centroids, 1), count, ids.data(), scores.data());
      },
      "machine"_a, "vectors"_a, "centroids"_a, "count"_a, "ids"_a, "scores"_a);
  module.def(
      "nearest_in_lists",
      [](const Machine& machine, Input<float, 2> vectors, Input<float, 2> centroids, Input<uint32_t, 1> centroid_ids,
         Input<int64_t, 1> offsets, Input<int64_t, 2> probes, Array<uint32_t, 1> ids) {
        const Unlocked unlocked;
        const CentroidLists lists{centroids.data(), centroid_ids.data(), offsets.data(), size_of(offsets) - 1};
        nearest_in_lists(machine, vectors.data(), size_of(vectors), size_of(vectors, 1), lists, probes.data(),
                         size_of(probes, 1), ids.data());
      },
      "machine"_a, "vectors"_a, "centroids"_a, "centroid_ids"_a, "offsets"_a, "probes"_a, "ids"_a);
  module.def(
      "quantize",
      [](const Machine& machine, const Codec& codec, Input<float, 2> vectors, Input<uint32_t, 1> centroid_ids,
         Array<uint8_t, 2> codes, Array<uint16_t, 1> sigmas, Array<uint16_t, 1> norms) {
        const Unlocked unlocked;
        quantize(machine, codec.view, vectors.data(), centroid_ids.data(), size_of(vectors), codes.data(),
                 sigmas.data(), norms.data());
      },
      "machine"_a, "codec"_a, "vectors"_a, "centroid_ids"_a, "codes"_a, "sigmas"_a, "norms"_a);
  module.def(
      "dequantize",
      [](const Machine& machine, const Codec& codec, Input<uint32_t, 1> centroid_ids, Input<uint8_t, 2> codes,
         Input<uint16_t, 1> sigmas, Input<uint16_t, 1> norms, Array<float, 2> vectors) {
        const Unlocked unlocked;
        dequantize(machine, codec.view, centroid_ids.data(), codes.data(), sigmas.data(), norms.data(),
                   size_of(vectors), vectors.data());
      },
      "machine"_a, "codec"_a, "centroid_ids"_a, "codes"_a, "sigmas"_a, "norms"_a, "vectors"_a);
}

void register_searching(nb::module_& module) {
  nb::class_<Table>(module, "Table")
      .def_prop_ro("centroid_count", [](const Table& table) { return table.scores().rows(); })
      .def_prop_ro("query_tokens", [](const Table& table) { return table.scores().tokens(); })
      .def_prop_ro("is_exact", [](const Table& table) { return table.scores().is_exact(); })
      .def("is_of", &Table::is_of, "store"_a)
      .def("to_array", [](const Table& table) {
        const CentroidTable& scores = table.scores();
        std::vector<float> values(scores.rows() * scores.tokens());
        scores.copy_to(values.data());
        return to_numpy(std::move(values), scores.rows(), scores.tokens());
      });
  module.def(
      "centroid_scores",
      [](const Machine& machine, Store& store, Input<float, 2> queries, bool exact) {
        const Unlocked unlocked;
        return std::make_unique<Table>(machine, store, queries.data(), size_of(queries), exact);
      },
      "machine"_a, "store"_a, "queries"_a, "exact"_a, nb::keep_alive<0, 2>());
  module.def(
      "best_centroids",
      [](const Machine& machine, const Table& table, Array<int64_t, 2> ids, Array<float, 2> scores) {
        const Unlocked unlocked;
        table.scores().best(machine, size_of(ids, 1), ids.data(), scores.data());
      },
      "machine"_a, "table"_a, "ids"_a, "scores"_a);
  module.def("accumulate_postings", &accumulate, "machine"_a, "store"_a, "probes"_a, "probe_scores"_a, "frontier"_a,
             "query_offsets"_a, "limit"_a, "mask"_a.none());
  module.def(
      "maxsim_centroids",
      [](const Machine& machine, const Store& store, const Table& table, Input<int64_t, 1> query_offsets,
         const CandidateArrays& candidates, Array<float, 1> scores) {
        const Unlocked unlocked;
        maxsim_centroids(machine, store.view, table.scores(), query_offsets.data(), size_of(query_offsets) - 1,
                         candidates.view, scores.data());
      },
      "machine"_a, "store"_a, "table"_a, "query_offsets"_a, "candidates"_a, "scores"_a);
  module.def(
      "maxsim_quantized",
      [](const Machine& machine, const Store& store, Input<float, 2> queries, Input<int64_t, 1> query_offsets,
         const CandidateArrays& candidates, bool exact, Table* table, Array<float, 1> scores) {
        const Unlocked unlocked;
        const int64_t query_count = size_of(query_offsets) - 1;
        std::shared_ptr<const PreparedCall> call;
        if (table != nullptr) {
          call = table->prepared(machine, queries.data(), query_offsets.data(), query_count);
        } else {  // exact scores need none
          call = std::make_shared<const PreparedCall>(machine, store.view.codec, queries.data(), query_offsets.data(),
                                                      query_count, CentroidScoreView{});
        }
        maxsim_quantized(machine, store.view, *call, candidates.view, exact, scores.data());
      },
      "machine"_a, "store"_a, "queries"_a, "query_offsets"_a, "candidates"_a, "exact"_a, "table"_a.none(), "scores"_a);
  module.def(
      "maxsim_raw",
      [](const Machine& machine, const Store& store, Input<float, 2> queries, Input<int64_t, 1> query_offsets,
         const CandidateArrays& candidates, Array<float, 1> scores) {
        const Unlocked unlocked;
        maxsim_raw(machine, store.view, queries.data(), query_offsets.data(), size_of(query_offsets) - 1,
                   candidates.view, scores.data());
      },
      "machine"_a, "store"_a, "queries"_a, "query_offsets"_a, "candidates"_a, "scores"_a);
  module.def(
      "score_error_bound",
      [](const Machine& machine, Store& store, Input<float, 2> queries, Input<int64_t, 1> query_offsets,
         Array<float, 1> bounds) {
        const Unlocked unlocked;
        const int64_t query_count = size_of(query_offsets) - 1;
        auto call = store.find(machine, queries.data(), query_offsets.data(), query_count);
        if (call == nullptr) {
          const CentroidScoreView nothing{.longest_centroid = store.longest(machine)};
          call = std::make_shared<const PreparedCall>(machine, store.view.codec, queries.data(), query_offsets.data(),
                                                      query_count, nothing);
        }
        score_error_bound(store.view, *call, bounds.data());
      },
      "machine"_a, "store"_a, "queries"_a, "query_offsets"_a, "bounds"_a);
}

// Winner: int32_t or int64_t; the array that comes chooses.
template <class Winner>
void register_maxsim_vectors(nb::module_& module) {
  module.def(
      "maxsim_vectors",
      [](const Machine& machine, Input<float, 2> queries, Input<int64_t, 1> query_offsets, Input<float, 2> vectors,
         Input<int64_t, 1> doc_offsets, Array<float, 2> scores, std::optional<Array<Winner, 2>> argmax) {
        const Unlocked unlocked;
        maxsim_vectors<Winner>(machine, size_of(queries, 1), ragged(queries, query_offsets),
                               ragged(vectors, doc_offsets), scores.data(), argmax ? argmax->data() : nullptr);
      },
      "machine"_a, "queries"_a, "query_offsets"_a, "vectors"_a, "doc_offsets"_a, "scores"_a, "argmax"_a.none());
  module.def(
      "maxsim_vectors_backward",
      [](const Machine& machine, Input<float, 2> grad, Input<float, 2> queries, Input<int64_t, 1> query_offsets,
         Input<float, 2> vectors, Input<int64_t, 1> doc_offsets, Input<Winner, 2> argmax,
         std::optional<Array<float, 2>> grad_queries, std::optional<Array<float, 2>> grad_vectors) {
        const Unlocked unlocked;
        maxsim_vectors_backward<Winner>(machine, size_of(queries, 1), grad.data(), ragged(queries, query_offsets),
                                        ragged(vectors, doc_offsets), argmax.data(),
                                        grad_queries ? grad_queries->data() : nullptr,
                                        grad_vectors ? grad_vectors->data() : nullptr);
      },
      "machine"_a, "grad"_a, "queries"_a, "query_offsets"_a, "vectors"_a, "doc_offsets"_a, "argmax"_a,
      "grad_queries"_a.none(), "grad_vectors"_a.none());
}

void register_vectors(nb::module_& module) {
  module.def(
      "inner_products",
      [](const Machine& machine, Input<float, 2> rows, Input<float, 2> columns, Array<float, 2> products) {
        const Unlocked unlocked;
        inner_products(machine, rows.data(), size_of(rows), columns.data(), size_of(columns), size_of(rows, 1),
                       products.data());
      },
      "machine"_a, "rows"_a, "columns"_a, "products"_a);
  register_maxsim_vectors<int32_t>(module);
  register_maxsim_vectors<int64_t>(module);
}

// std::bad_alloc becomes MemoryError by itself.
void translate_exception(const std::exception_ptr& pointer, void*) {
  const auto raise = [](const char* name, const char* message) {
    PyErr_SetString(nb::module_::import_("jcb_engine.errors").attr(name).ptr(), message);
  };
  try {
    std::rethrow_exception(pointer);
  } catch (const CorruptIndex& error) {
    raise("CorruptIndexError", error.what());
  } catch (const Unavailable& error) {
    raise("BackendUnavailableError", error.what());
  } catch (const std::invalid_argument& error) {
    raise("InputError", error.what());
  }
}

}  // namespace
}  // namespace jcb::bindings

NB_MODULE(_cpu, module) {
  namespace nb = nanobind;
  using jcb::Machine;
  using nb::literals::operator""_a;
  // Backends are kept for the life of the process (kernels.select), and Python does not free them at its end.
  nb::set_leak_warnings(false);
  nb::register_exception_translator(jcb::bindings::translate_exception);
  nb::class_<Machine>(module, "Machine")
      .def(nb::init<const std::string&, int>(), "instruction_set"_a, "threads"_a)
      .def_prop_ro("instruction_set", [](const Machine& machine) { return jcb::name_of(machine.instruction_set); })
      .def_prop_ro("threads", [](const Machine& machine) { return machine.pool.threads(); });
  jcb::bindings::register_store(module);
  jcb::bindings::register_building(module);
  jcb::bindings::register_searching(module);
  jcb::bindings::register_vectors(module);
}
