#include "tests/instruction_sets.h"

#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "jcb/instruction_set.h"

namespace jcb {
#if defined(JCB_HAVE_SIMDE)
const maxsim::Kernels& maxsim_kernels_avx2_emulated();
const maxsim::Kernels& maxsim_kernels_avx512_emulated();
const maxsim::Kernels& maxsim_kernels_amx_emulated();
const maxsim::Kernels& maxsim_kernels_neon_emulated();
#endif
}  // namespace jcb

namespace jcb::tests {

std::vector<Build> available_builds(std::FILE* notes) {
  std::vector<Build> builds{{"scalar", &maxsim_kernels_scalar()}};
#if defined(__x86_64__)
  if (supports(InstructionSet::kAvx2)) {
    builds.push_back({"avx2", &maxsim_kernels_avx2()});
  } else {
    std::fprintf(notes, "avx2 skipped: this processor has no AVX2\n");
  }
  if (supports(InstructionSet::kAvx512)) {
    builds.push_back({"avx512", &maxsim_kernels_avx512()});
  } else {
    std::fprintf(notes, "avx512 skipped: this processor has no AVX-512 with VNNI\n");
  }
#if defined(JCB_HAVE_AMX)
  if (supports(InstructionSet::kAmx)) {
    builds.push_back({"amx", &maxsim_kernels_amx()});
  } else {
    std::fprintf(notes, "amx skipped: this processor has no AMX with INT8, or the system does not grant it\n");
  }
#else
  std::fprintf(notes, "amx skipped: the compiler does not know AMX\n");
#endif
#elif defined(__aarch64__)
  if (supports(InstructionSet::kNeon)) {
    builds.push_back({"neon", &maxsim_kernels_neon()});
  } else {
    std::fprintf(notes, "neon skipped: this processor has no dot product\n");
  }
#endif
#if defined(JCB_HAVE_SIMDE)
  builds.push_back({"avx2 over SIMDe", &maxsim_kernels_avx2_emulated()});
  builds.push_back({"avx512 over SIMDe", &maxsim_kernels_avx512_emulated()});
  builds.push_back({"amx over SIMDe", &maxsim_kernels_amx_emulated()});
  builds.push_back({"neon over SIMDe", &maxsim_kernels_neon_emulated()});
#else
  std::fprintf(notes, "avx2, avx512, amx and neon over SIMDe skipped: SIMDe headers not found\n");
#endif
  if (const char* parts = std::getenv("JCB_TEST_WITHOUT")) {
    std::istringstream list(parts);
    for (std::string part; std::getline(list, part, ',');) {
      std::erase_if(builds, [&](const Build& build) { return build.name.find(part) != std::string::npos; });
    }
  }
  return builds;
}

}  // namespace jcb::tests
