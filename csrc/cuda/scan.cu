#include "cuda/scan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "cuda/graph_memory.h"
#include "cuda/selecting.h"

namespace jcb::cuda {

// A graph, and all memory that it reads and writes.
struct Scanner::Recorded {
  Recorded(const DeviceStore& store, const ScanShape& shape, Stream stream)
      : store(store),
        shape(shape),
        documents(static_cast<uint32_t>(store.documents())),
        prepared(store, shape.pieces),
        memory(inputs, work, counted, outputs, told_bytes),
        partial(static_cast<size_t>(shape.pieces) * documents),
        whole(shape.pieces == shape.queries ? 0 : static_cast<size_t>(shape.queries) * documents) {
    synchronise(store.stream);  // allocated there
    graph = std::make_unique<Graph>(stream, [&] { record(stream); });
  }

  void record(Stream stream) const {
    memory.begin(stream);
    const Piece* const pieces = memory.input<Piece>(pieces_at);
    prepared.prepare(store, memory.input<float>(vectors_at), pieces, stream);
    const Queries queries = prepared.view(store, pieces);
    launch_scan(store, queries, store.everything(), store.document_sums.back(), stream, partial.data());
    if (whole.size() != 0) {
      launch_add(memory.input<QuerySum>(sums_at), shape.queries, documents, partial.data(), whole.data(), stream);
    }
    const uint32_t* const k = memory.input<uint32_t>(k_at);
    const Ranked fast{whole.size() != 0 ? whole.data() : partial.data(), nullptr, documents, documents,
                      shape.masked ? memory.input<uint8_t>(mask_at) : nullptr, memory.count<uint32_t>(fast_digits_at)};
    launch_count(fast, k, shape.queries, documents, stream);

    // The best by fast score: the k-th of their exact scores is a floor that the k-th hit cannot lie below. No document
    // whose fast score, raised by the bound, stays below the floor can be a hit.
    uint32_t *const first_counts = memory.count<uint32_t>(first_counts_at), *const first = memory.own<uint32_t>(first_documents_at);
    const uint32_t* const first_pieces = memory.input<uint32_t>(first_pieces_at);
    launch_collect(fast, {fast.digits, nullptr, first_counts, first, shape.room}, k, shape.queries, documents, stream);
    launch_exact(store, queries, {first_pieces, first_counts, first, shape.room}, shape.queries, stream,
                 memory.count<uint32_t>(first_parts_at), memory.own<float>(first_scores_at));
    const Ranked exact{memory.own<float>(first_scores_at), first_counts, shape.room};
    uint32_t *const counts = memory.output<uint32_t>(counts_at), *const last = memory.output<uint32_t>(documents_at);
    const float* const bounds = memory.input<float>(bounds_at);
    launch_reach_many(exact, fast, {nullptr, bounds, counts, last, shape.room}, k, shape.queries, documents, stream);
    launch_exact(store, queries, {first_pieces, counts, last, shape.room}, shape.queries, stream,
                 memory.count<uint32_t>(last_parts_at), memory.output<float>(scores_at));
    memory.end(stream);
  }

  const DeviceStore& store;
  const ScanShape shape;
  const uint32_t documents;
  PreparedPieces prepared;

  Layout inputs;
  const size_t k_at = inputs.add<uint32_t>(1);
  const size_t pieces_at = inputs.add<Piece>(shape.pieces);
  const size_t sums_at = inputs.add<QuerySum>(shape.queries);
  const size_t first_pieces_at = inputs.add<uint32_t>(shape.queries + 1);
  const size_t bounds_at = inputs.add<float>(shape.queries);
  const size_t mask_at = inputs.add<uint8_t>(shape.masked ? (documents + 7) / 8 : 0);
  const size_t vectors_at = inputs.add<float>(static_cast<size_t>(shape.pieces) * kColumns * store.codec.dim);

  Layout work;
  const size_t first_documents_at = work.add<uint32_t>(static_cast<size_t>(shape.queries) * shape.room);
  const size_t first_scores_at = work.add<float>(static_cast<size_t>(shape.queries) * shape.room);

  Layout counted;  // zeros when a run begins
  const size_t first_counts_at = counted.add<uint32_t>(shape.queries);
  const size_t fast_digits_at = counted.add<uint32_t>(static_cast<size_t>(shape.queries) * kDigitWords);
  const size_t first_parts_at = counted.add<uint32_t>(exact_zeros(shape.queries, shape.room));
  const size_t last_parts_at = counted.add<uint32_t>(exact_zeros(shape.queries, shape.room));

  Layout outputs;  // counts first: they are zeros, too
  const size_t counts_at = outputs.add<uint32_t>(shape.queries);
  const size_t told_bytes = outputs.size();
  const size_t documents_at = outputs.add<uint32_t>(static_cast<size_t>(shape.queries) * shape.room);
  const size_t scores_at = outputs.add<float>(static_cast<size_t>(shape.queries) * shape.room);

  const GraphMemory memory;
  const DeviceArray<float> partial, whole;
  std::unique_ptr<Graph> graph;
};

Scanner::Scanner(const DeviceStore& store, uint32_t least_room) : store_(store), least_room_(least_room) {}
Scanner::~Scanner() = default;

bool Scanner::search(const float* queries, const int64_t* query_offsets, int64_t query_count, int64_t k,
                     const uint8_t* mask, Found& found) {
  found = {};
  if (k < 1 || k > kMostWanted || store_.documents() > std::numeric_limits<uint32_t>::max()) return false;
  found.offsets.push_back(0);
  if (query_count == 0) return true;
  if (store_.document_sums.back() == 0) {  // nothing has a vector
    found.offsets.resize(query_count + 1, 0);
    return true;
  }
  check_queries(queries, static_cast<size_t>(query_offsets[query_count] * store_.codec.dim));
  const int64_t start = 0, end = store_.documents();
  Candidates all;
  all.starts = &start;
  all.ends = &end;
  all.range_count = 1;
  const Plan plan(store_.document_sums, query_offsets, query_count, all);
  const uint32_t room = std::max<uint32_t>(least_room_, static_cast<uint32_t>(4 * k));

  const std::lock_guard<std::mutex> alone(graphs_.lock);
  const ScanShape shape{static_cast<uint32_t>(query_count), static_cast<uint32_t>(plan.pieces.size()), room, mask != nullptr};
  Recorded& recorded =
      graphs_.take(shape, [&](Stream stream) { return std::make_unique<Recorded>(store_, shape, stream); });
  const GraphMemory& memory = recorded.memory;
  const uint32_t wanted = static_cast<uint32_t>(k);
  std::vector<uint32_t> first_pieces{0};
  std::vector<float> bounds;
  for (int64_t query = 0; query < query_count; ++query) {
    first_pieces.push_back(first_pieces.back() + plan.sums[query].pieces);
    const double bound = error_bound(store_, queries + query_offsets[query] * store_.codec.dim,
                                     query_offsets[query + 1] - query_offsets[query]);
    bounds.push_back(std::nextafter(static_cast<float>(bound), std::numeric_limits<float>::infinity()));
  }
  memory.give(recorded.k_at, &wanted, 1);
  memory.give(recorded.pieces_at, plan.pieces.data(), plan.pieces.size());
  memory.give(recorded.sums_at, plan.sums.data(), plan.sums.size());
  memory.give(recorded.first_pieces_at, first_pieces.data(), first_pieces.size());
  memory.give(recorded.bounds_at, bounds.data(), bounds.size());
  memory.give(recorded.vectors_at, queries, static_cast<size_t>(query_offsets[query_count] * store_.codec.dim));
  if (mask != nullptr) memory.give(recorded.mask_at, mask, (recorded.documents + 7) / 8);
  graphs_.run(recorded);

  const uint32_t* const counts = memory.got<uint32_t>(recorded.counts_at);
  for (int64_t query = 0; query < query_count; ++query) {
    if (counts[query] > room) {
      found = {};
      return false;
    }
    const uint32_t* const documents = memory.got<uint32_t>(recorded.documents_at) + query * room;
    const float* const scores = memory.got<float>(recorded.scores_at) + query * room;
    found.documents.insert(found.documents.end(), documents, documents + counts[query]);
    found.scores.insert(found.scores.end(), scores, scores + counts[query]);
    found.offsets.push_back(static_cast<int64_t>(found.documents.size()));
  }
  return true;
}

std::vector<double> Scanner::time_graphs(int repeats) { return graphs_.time(repeats); }

}  // namespace jcb::cuda
