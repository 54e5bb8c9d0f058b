#include "cuda/probe.h"

#include <algorithm>
#include <limits>

#include "cuda/graph_memory.h"
#include "cuda/kernels/narrow.h"
#include "cuda/kernels/postings.h"
#include "cuda/selecting.h"

namespace jcb::cuda {
namespace {

constexpr uint32_t kMostScored = 1 << 17;
// ERROR_SAMPLE and ERROR_FACTOR of jcb_engine/kernels/interface.py: so many documents show how wrong fast scores are, and none is taken to be kErrors
// times as wrong as the worst of them.
constexpr uint32_t kSample = 16;
constexpr float kErrors = 4.0f;

enum Counts { kBeyondProbes, kPool, kKept, kFirst, kWanted, kNumbersOfCounts };  // what the host tells how many of

}  // namespace

// A graph, and all memory that it reads and writes.
struct Prober::Recorded {
  Recorded(const DeviceStore& store, const DevicePostings& postings, uint32_t ties, const ProbeShape& shape, Stream stream)
      : store(store),
        postings(postings),
        shape(shape),
        pool_room(static_cast<uint32_t>(std::min<int64_t>(store.documents(), int64_t{shape.pool} + ties))),
        prepared(store, shape.pieces),
        memory(inputs, work, counted, outputs, told_bytes),
        products(static_cast<size_t>(tokens) * store.centroid_rows()) {
    synchronise(store.stream);  // allocated there
    graph = std::make_unique<Graph>(stream, [&] { record(stream); });
  }

  void record(Stream stream) const {
    memory.begin(stream);
    const Piece* const pieces = memory.input<Piece>(pieces_at);
    prepared.prepare(store, memory.input<float>(vectors_at), pieces, stream, products.data());
    const Queries queries = prepared.view(store, pieces);
    probe(queries, stream);
    const DocumentLists pool = gather(stream);
    const DocumentLists kept = narrow(queries, pool, stream);
    rank(queries, kept, stream);
    memory.end(stream);
  }

  // Centroids that beat the frontier, the best one that is not probed, and what their postings gain each document.
  void probe(const Queries& queries, Stream stream) const {
    const uint32_t rows = store.centroid_rows();
    const Ranked centroids{products.data(), memory.input<uint32_t>(centroid_counts_at), rows, 0, nullptr,
                           memory.count<uint32_t>(probe_digits_at)};
    const Probes probes{memory.count<uint32_t>(probe_counts_at), memory.own<uint32_t>(probe_ids_at),
                        memory.own<float>(probe_scores_at), memory.own<float>(frontiers_at), shape.probes};
    Reaching reaching{centroids.digits, nullptr, memory.count<uint32_t>(probe_counts_at), memory.own<uint32_t>(probe_ids_at),
                      shape.probes};
    reaching.scores = memory.own<float>(probe_scores_at);
    reaching.kths = memory.own<float>(frontiers_at);
    reaching.beyond = true;
    launch_reach(centroids, reaching, wanted(kBeyondProbes), tokens, rows, stream);
    const Gains gains{postings.ranges(), postings.range_count(), queries.steps, memory.input<uint32_t>(query_of_piece_at),
                      first_pieces(), memory.count<uint32_t>(gained_at), documents};
    launch<accumulate_postings>(stream, tokens * postings.range_count(), kPostingThreads,
                                postings_shared_bytes(postings.most_documents()), probes, gains);
  }

  // The pool: documents that gained most. Their sums are positive numbers as the bits of a float, too.
  DocumentLists gather(Stream stream) const {
    Ranked gained{memory.count<float>(gained_at), nullptr, documents, documents,
                  shape.masked ? memory.input<uint8_t>(mask_at) : nullptr, memory.count<uint32_t>(pool_digits_at)};
    gained.more_than = 0.0f;
    gained.passes = 2;
    launch_count(gained, wanted(kPool), shape.queries, documents, stream);
    uint32_t *const counts = memory.output<uint32_t>(pool_counts_at), *const pool = memory.own<uint32_t>(pool_at);
    launch_collect(gained, {gained.digits, nullptr, counts, pool, pool_room}, wanted(kPool), shape.queries, documents, stream);
    return {first_pieces(), counts, pool, pool_room};
  }

  // Those of the pool that are scored: the best by MaxSim of centroids.
  DocumentLists narrow(const Queries& queries, const DocumentLists& pool, Stream stream) const {
    const uint32_t blocks = std::clamp<uint32_t>(16 * multiprocessors() / shape.queries, 1, pool_room / kNarrowWarps + 1);
    float* const scores = memory.own<float>(pool_scores_at);
    launch<maxsim_centroid_lists>(stream, blocks * shape.queries, kNarrowThreads, 0, store.everything(), store.shape, queries,
                                  pool, blocks, scores);
    Ranked ranked{scores, pool.counts, pool_room};
    ranked.numbers = pool.documents;
    uint32_t *const counts = memory.own<uint32_t>(kept_counts_at), *const kept = memory.own<uint32_t>(kept_at);
    launch_best_of_few(ranked, {nullptr, nullptr, counts, kept, shape.documents}, wanted(kKept),
                       {store.everything(), memory.own<uint64_t>(first_tiles_at), memory.own<uint64_t>(tile_sums_at)},
                       shape.queries, stream);
    return {pool.first_pieces, counts, kept, shape.documents};
  }

  // Fast scores of these, exact ones of the best, and then of all that the best show to be within reach.
  void rank(const Queries& queries, const DocumentLists& kept, Stream stream) const {
    const Work items{store.tiles(), memory.own<uint64_t>(first_tiles_at), memory.own<uint64_t>(tile_sums_at)};
    float *const partial = memory.own<float>(partial_at), *const whole = memory.own<float>(whole_at);
    const uint64_t tiles_of_a_document = store.document_sums.back() / documents + 1;
    launch_fast(store, queries, items, tiles_of_a_document * shape.documents, stream, partial);
    if (is_summed) launch_add(memory.input<QuerySum>(sums_at), shape.queries, shape.documents, partial, whole, stream);
    Ranked fast{is_summed ? whole : partial, kept.counts, shape.documents};
    fast.numbers = kept.documents;

    uint32_t *const first_counts = memory.own<uint32_t>(first_counts_at), *const first = memory.own<uint32_t>(first_at);
    float *const judged = memory.own<float>(judged_at), *const exact = memory.own<float>(exact_at);
    launch_reach_few(fast, fast, {nullptr, nullptr, first_counts, first, shape.documents, judged}, wanted(kFirst),
                     shape.queries, stream);
    launch_exact(store, queries, {kept.first_pieces, first_counts, first, shape.documents}, shape.queries, stream,
                 memory.count<uint32_t>(first_parts_at), exact);
    uint32_t *const counts = memory.output<uint32_t>(counts_at), *const found = memory.output<uint32_t>(found_at);
    launch_reach_judged({exact, first_counts, shape.documents}, fast, judged, kErrors,
                        {nullptr, nullptr, counts, found, shape.documents}, wanted(kWanted), shape.queries, stream);
    launch_exact(store, queries, {kept.first_pieces, counts, found, shape.documents}, shape.queries, stream,
                 memory.count<uint32_t>(last_parts_at), memory.output<float>(scores_at));
  }

  // What a call puts into the memory that the host gives. plan: of its queries, without documents.
  void give(Plan& plan, const float* queries, const int64_t* query_offsets, int64_t k, const uint8_t* mask) const {
    const uint32_t counts[kNumbersOfCounts] = {shape.probes + 1, shape.pool, shape.documents,
                                               std::max(static_cast<uint32_t>(k), kSample), static_cast<uint32_t>(k)};
    std::vector<uint32_t> first_piece_of_query{0}, query_of_piece, centroid_counts;
    for (uint32_t query = 0; query < shape.queries; ++query) {
      QuerySum& sum = plan.sums[query];
      for (uint32_t piece = first_piece_of_query.back(); piece < first_piece_of_query.back() + sum.pieces; ++piece) {
        plan.pieces[piece].first_item = query * (shape.documents + 1);
        plan.pieces[piece].items = shape.documents;
        plan.pieces[piece].output = static_cast<uint64_t>(piece) * shape.documents;
        query_of_piece.push_back(query);
        for (uint32_t token = 0; token < kColumns; ++token) {
          const bool there = token < plan.pieces[piece].tokens;
          centroid_counts.push_back(there ? static_cast<uint32_t>(store.codec.centroid_count) : 0);
        }
      }
      sum = {static_cast<uint64_t>(first_piece_of_query.back()) * shape.documents,
             static_cast<uint64_t>(query) * shape.documents, sum.pieces, shape.documents};
      first_piece_of_query.push_back(first_piece_of_query.back() + sum.pieces);
    }
    memory.give(wanted_at, counts, kNumbersOfCounts);
    memory.give(pieces_at, plan.pieces.data(), plan.pieces.size());
    memory.give(sums_at, plan.sums.data(), plan.sums.size());
    memory.give(first_pieces_at, first_piece_of_query.data(), first_piece_of_query.size());
    memory.give(query_of_piece_at, query_of_piece.data(), query_of_piece.size());
    memory.give(centroid_counts_at, centroid_counts.data(), centroid_counts.size());
    if (shape.masked) memory.give(mask_at, mask, (documents + 7) / 8);
    memory.give(vectors_at, queries, static_cast<size_t>(query_offsets[shape.queries] * store.codec.dim));
  }

  // False where a pool had too little room.
  bool take(Found& found) const {
    for (uint32_t query = 0; query < shape.queries; ++query) {
      if (memory.got<uint32_t>(pool_counts_at)[query] > pool_room) {
        found = {};
        return false;
      }
      const uint32_t count = memory.got<uint32_t>(counts_at)[query];
      const uint32_t* const own = memory.got<uint32_t>(found_at) + static_cast<size_t>(query) * shape.documents;
      const float* const scores = memory.got<float>(scores_at) + static_cast<size_t>(query) * shape.documents;
      found.documents.insert(found.documents.end(), own, own + count);
      found.scores.insert(found.scores.end(), scores, scores + count);
      found.offsets.push_back(static_cast<int64_t>(found.documents.size()));
    }
    return true;
  }

  bool probes_by_digits() const { return store.centroid_rows() > kFewScores; }
  const uint32_t* wanted(Counts which) const { return memory.input<uint32_t>(wanted_at) + which; }
  const uint32_t* first_pieces() const { return memory.input<uint32_t>(first_pieces_at); }

  const DeviceStore& store;
  const DevicePostings& postings;
  const ProbeShape shape;
  const uint32_t documents = static_cast<uint32_t>(store.documents()), tokens = shape.pieces * kColumns;
  const uint32_t pool_room;
  const bool is_summed = shape.pieces != shape.queries;
  const size_t pooled = static_cast<size_t>(shape.queries) * pool_room;
  const size_t scored = static_cast<size_t>(shape.queries) * shape.documents;
  PreparedPieces prepared;

  Layout inputs;
  const size_t wanted_at = inputs.add<uint32_t>(kNumbersOfCounts);
  const size_t pieces_at = inputs.add<Piece>(shape.pieces);
  const size_t sums_at = inputs.add<QuerySum>(shape.queries);
  const size_t first_pieces_at = inputs.add<uint32_t>(shape.queries + 1);
  const size_t query_of_piece_at = inputs.add<uint32_t>(shape.pieces);
  const size_t centroid_counts_at = inputs.add<uint32_t>(tokens);
  const size_t mask_at = inputs.add<uint8_t>(shape.masked ? (documents + 7) / 8 : 0);
  const size_t vectors_at = inputs.add<float>(static_cast<size_t>(tokens) * store.codec.dim);

  Layout work;
  const size_t kept_counts_at = work.add<uint32_t>(shape.queries);
  const size_t first_counts_at = work.add<uint32_t>(shape.queries);
  const size_t probe_ids_at = work.add<uint32_t>(static_cast<size_t>(tokens) * shape.probes);
  const size_t probe_scores_at = work.add<float>(static_cast<size_t>(tokens) * shape.probes);
  const size_t frontiers_at = work.add<float>(tokens);
  const size_t pool_at = work.add<uint32_t>(pooled);
  const size_t pool_scores_at = work.add<float>(pooled);
  const size_t kept_at = work.add<uint32_t>(scored);
  const size_t first_tiles_at = work.add<uint64_t>(scored + shape.queries);
  const size_t tile_sums_at = work.add<uint64_t>(scored + shape.queries);
  const size_t partial_at = work.add<float>(static_cast<size_t>(shape.pieces) * shape.documents);
  const size_t whole_at = work.add<float>(is_summed ? scored : 0);
  const size_t first_at = work.add<uint32_t>(scored);
  const size_t judged_at = work.add<float>(scored);
  const size_t exact_at = work.add<float>(scored);

  Layout counted;  // zeros when a run begins
  const size_t probe_counts_at = counted.add<uint32_t>(tokens);
  const size_t probe_digits_at = counted.add<uint32_t>(probes_by_digits() ? static_cast<size_t>(tokens) * kDigitWords : 0);
  const size_t pool_digits_at = counted.add<uint32_t>(static_cast<size_t>(shape.queries) * kDigitWords);
  const size_t first_parts_at = counted.add<uint32_t>(exact_zeros(shape.queries, shape.documents));
  const size_t last_parts_at = counted.add<uint32_t>(exact_zeros(shape.queries, shape.documents));
  const size_t gained_at = counted.add<uint32_t>(static_cast<size_t>(shape.queries) * documents);

  Layout outputs;  // counts first: they are zeros, too
  const size_t pool_counts_at = outputs.add<uint32_t>(shape.queries);
  const size_t counts_at = outputs.add<uint32_t>(shape.queries);
  const size_t told_bytes = outputs.size();
  const size_t found_at = outputs.add<uint32_t>(scored);
  const size_t scores_at = outputs.add<float>(scored);

  const GraphMemory memory;
  const DeviceArray<float> products;
  std::unique_ptr<Graph> graph;
};

Prober::Prober(const DeviceStore& store, const StoreView& view, uint32_t range_documents, uint32_t ties)
    : store_(store),
      postings_(view, range_documents != 0 ? range_documents : range_documents_for(store.documents()), store.stream),
      ties_(ties) {}
Prober::~Prober() = default;

bool Prober::search(const float* queries, const int64_t* query_offsets, int64_t query_count, int64_t k,
                    const ProbeSettings& settings, const uint8_t* mask, Found& found) {
  found = {};
  const int64_t probes = std::min<int64_t>(settings.probes, kMostProbes + 1), documents = store_.documents();
  if (k < 1 || k > kMostWanted || settings.documents < 1 || settings.documents > kMostScored || probes < 1 ||
      probes > kMostProbes || probes >= store_.codec.centroid_count || store_.is_raw() ||
      documents > std::numeric_limits<uint32_t>::max()) {
    return false;
  }
  found.offsets.push_back(0);
  if (query_count == 0) return true;
  if (store_.document_sums.back() == 0) {  // nothing has a vector
    found.offsets.resize(query_count + 1, 0);
    return true;
  }
  check_queries(queries, static_cast<size_t>(query_offsets[query_count] * store_.codec.dim));
  Plan plan(store_.document_sums, query_offsets, query_count, Candidates{});
  const ProbeShape shape{static_cast<uint32_t>(query_count),
                         static_cast<uint32_t>(plan.pieces.size()),
                         static_cast<uint32_t>(probes),
                         static_cast<uint32_t>(std::clamp(settings.pool, settings.documents, documents)),
                         static_cast<uint32_t>(std::min(settings.documents, documents)),
                         mask != nullptr};

  const std::lock_guard<std::mutex> alone(graphs_.lock);
  Recorded& recorded =
      graphs_.take(shape, [&](Stream stream) { return std::make_unique<Recorded>(store_, postings_, ties_, shape, stream); });
  recorded.give(plan, queries, query_offsets, k, mask);
  graphs_.run(recorded);
  return recorded.take(found);
}

std::vector<double> Prober::time_graphs(int repeats) { return graphs_.time(repeats); }

}  // namespace jcb::cuda
