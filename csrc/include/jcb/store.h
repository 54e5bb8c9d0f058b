// What every operation sees of an index: raw pointers and sizes, no Python, no torch, no ownership.
// Notation as in jcb_engine/types.py: T tokens, N documents, K centroids, D dimensions, Q query tokens.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace jcb {

// Thrown where ids or offsets that were read from a file point outside the arrays. The binding turns it into
// jcb_engine.errors.CorruptIndexError.
struct CorruptIndex : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct CodecView {
  int64_t dim = 0;
  int nbits = 0;  // 1, 2, 4, 8, or 16: raw fp16 vectors
  int64_t centroid_count = 0;
  const float* centroids = nullptr;  // [K, D], rotated basis
  const float* cutoffs = nullptr;    // [2^nbits - 1], ascending; null when raw
  const float* levels = nullptr;     // [2^nbits], in units of sigma; null when raw
  float norm_scale = 1.0f;           // power of two

  int64_t code_bytes() const { return nbits == 16 ? 2 * dim : (dim * nbits + 7) / 8; }
};

// One segment. Codes are packed token by token; the first dimension is in the low bits of byte 0.
// Nothing here is padded: a kernel must not read past tokens * code_bytes.
struct SegmentView {
  int64_t documents = 0;
  int64_t tokens = 0;
  const int64_t* doc_offsets = nullptr;       // [documents + 1]
  const uint8_t* codes = nullptr;             // [T, code_bytes]; fp16 [T, D] when raw
  const uint16_t* centroid_ids_16 = nullptr;  // [T]; exactly one of the two is set, none when raw
  const uint32_t* centroid_ids_32 = nullptr;  // [T]
  const uint16_t* sigmas = nullptr;           // [T] fp16 bits; null when raw
  const uint16_t* norms = nullptr;            // [T] fp16 bits; null when raw
  const int64_t* posting_offsets = nullptr;   // [K + 1]
  const uint32_t* posting_documents = nullptr;  // [P], ascending inside a list, local to the segment
  int64_t posting_count = 0;                  // P
  float max_sigma = 0.0f;                     // largest stored sigma and norm: larger ones are clamped to these
  float max_norm = 0.0f;
};

struct StoreView {
  CodecView codec;
  std::vector<SegmentView> segments;
  std::vector<int64_t> segment_starts;  // [segments + 1], first document number of each

  int64_t documents() const { return segment_starts.empty() ? 0 : segment_starts.back(); }
};

}  // namespace jcb
