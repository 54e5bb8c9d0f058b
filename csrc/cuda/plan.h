// What a call asks for, in the form that kernels take it: pieces of queries, items of documents, places of scores.
#pragma once
#include <cstdint>
#include <vector>

#include "cuda/query_layout.h"
#include "jcb/candidates.h"

namespace jcb::cuda {

struct Plan {
  // document_sums: [documents + 1], tiles before each document of the store. query_offsets: [query_count + 1].
  // Throws CorruptIndex on a document that the store does not have.
  Plan(const std::vector<uint64_t>& document_sums, const int64_t* query_offsets, int64_t query_count,
       const Candidates& candidates);

  // A query without tokens is one piece of none.
  std::vector<Piece> pieces;
  std::vector<QuerySum> sums;  // one per query; without use where every query is one piece: scores are then `partial`
  bool needs_sums = false;
  uint64_t partial_count = 0, score_count = 0;
  // Of the items; empty where these are documents in the store's order, and Piece::first_item is a document.
  std::vector<uint64_t> first_tiles, tile_sums;
  uint64_t most_tiles = 0;    // of a piece
  bool is_one_range = false;  // every piece has the same items, and their tiles follow each other
};

}  // namespace jcb::cuda
