// The builds of maxsim_quantized that this test program can run.
#pragma once
#include <cstdio>
#include <string>
#include <vector>

#include "jcb/maxsim_quantized.h"

namespace jcb::tests {

struct Build {
  std::string name;
  const maxsim::Kernels* kernels;
};

// Scalar; AVX2, AVX-512 and AMX, or NEON, where this processor has them; all four over SIMDe where that was there at build
// time. Tells `notes` which are missing. The environment's JCB_TEST_WITHOUT, parts between
// commas, leaves out those that have one of them in their name.
std::vector<Build> available_builds(std::FILE* notes);

}  // namespace jcb::tests
