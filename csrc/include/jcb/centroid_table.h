// Scores of all centroids for the query tokens of one call: what finds candidates, and what fast MaxSim adds residuals to.
#pragma once
#include <cstdint>
#include <memory>

#include "jcb/machine.h"
#include "jcb/maxsim_quantized.h"
#include "jcb/store.h"

namespace jcb {

namespace maxsim {
class ByteCentroids;  // cpu/word_table.h
class WordTable;
}  // namespace maxsim

struct DeleteByteCentroids {
  void operator()(const maxsim::ByteCentroids* centroids) const;
};

// Centroids as small integers, made once per store and shared by its fast tables. Null where the instruction set has no
// products of bytes, or none of vectors so long: tables are exact there.
std::unique_ptr<const maxsim::ByteCentroids, DeleteByteCentroids> make_byte_centroids(const Machine& machine,
                                                                                     const CodecView& codec);

class CentroidTable {
 public:
  // queries: [tokens, D]. All scores in fp32.
  CentroidTable(const Machine& machine, const CodecView& codec, const float* queries, int64_t tokens,
                double longest_centroid);
  // In small integers. Throws std::invalid_argument on NaN or infinity.
  CentroidTable(const Machine& machine, const maxsim::ByteCentroids& centroids, const float* queries, int64_t tokens);
  ~CentroidTable();

  bool is_exact() const { return words_ == nullptr; }
  int64_t rows() const { return rows_; }
  int64_t tokens() const { return tokens_; }
  CentroidScoreView view() const;

  // ids, scores: [tokens, count]: the best centroids of every query token by these scores, the best first, the lower id
  // first in a tie. In small integers what is not finite in a centroid counts 0.
  void best(const Machine& machine, int64_t count, int64_t* ids, float* scores) const;

  // scores: [rows, tokens], as they are.
  void copy_to(float* scores) const;

 private:
  struct Floats;

  const int64_t rows_, tokens_;
  const double longest_centroid_;
  std::unique_ptr<Floats> floats_;  // one of the two
  std::unique_ptr<const maxsim::WordTable> words_;
};

}  // namespace jcb
