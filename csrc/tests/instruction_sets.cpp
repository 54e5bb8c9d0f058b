#include "tests/instruction_sets.h"

#include <cstdio>
#include <cstdlib>

#include "jcb/instruction_set.h"

namespace jcb {
#if defined(JCB_HAVE_SIMDE)
std::unique_ptr<PreparedQueries> prepare_queries_avx2_emulated(const CodecView&, const float*, const int64_t*, int64_t,
                                                               const float*);
std::unique_ptr<PreparedQueries> prepare_queries_avx512_emulated(const CodecView&, const float*, const int64_t*,
                                                                 int64_t, const float*);
std::unique_ptr<PreparedQueries> prepare_queries_neon_emulated(const CodecView&, const float*, const int64_t*, int64_t,
                                                               const float*);
#endif
}  // namespace jcb

namespace jcb::tests {

std::vector<Build> available_builds(std::FILE* notes) {
  std::vector<Build> builds{{"scalar", prepare_queries_scalar}};
#if defined(__x86_64__)
  if (supports(InstructionSet::kAvx2)) {
    builds.push_back({"avx2", prepare_queries_avx2});
  } else {
    std::fprintf(notes, "avx2 skipped: this processor has no AVX2\n");
  }
  if (supports(InstructionSet::kAvx512)) {
    builds.push_back({"avx512", prepare_queries_avx512});
  } else {
    std::fprintf(notes, "avx512 skipped: this processor has no AVX-512 with VNNI\n");
  }
#elif defined(__aarch64__)
  if (supports(InstructionSet::kNeon)) {
    builds.push_back({"neon", prepare_queries_neon});
  } else {
    std::fprintf(notes, "neon skipped: this processor has no dot product\n");
  }
#endif
#if defined(JCB_HAVE_SIMDE)
  builds.push_back({"avx2 over SIMDe", prepare_queries_avx2_emulated});
  builds.push_back({"avx512 over SIMDe", prepare_queries_avx512_emulated});
  builds.push_back({"neon over SIMDe", prepare_queries_neon_emulated});
#else
  std::fprintf(notes, "avx2, avx512 and neon over SIMDe skipped: SIMDe headers not found\n");
#endif
  if (const char* part = std::getenv("JCB_TEST_WITHOUT")) {
    std::erase_if(builds, [&](const Build& build) { return build.name.find(part) != std::string::npos; });
  }
  return builds;
}

}  // namespace jcb::tests
