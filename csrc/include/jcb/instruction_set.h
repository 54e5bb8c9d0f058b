// Which instructions the kernels use: chosen once, at run time, by what the processor and the system support.
#pragma once
#include <stdexcept>
#include <string>

namespace jcb {

enum class InstructionSet { kScalar, kAvx2, kAvx512, kAmx, kNeon };
inline constexpr int kInstructionSets = 5;

// Asked for by name and not there. The binding turns it into jcb_engine.errors.BackendUnavailableError.
struct Unavailable : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// scalar: always. avx2: AVX2, FMA, F16C, BMI2. avx512: F, BW, DQ, VL and VNNI besides. amx: VBMI and AMX with INT8
// besides, where the compiler knew them. Each with the system's support for the registers; Linux is asked for the tile unit
// the first time that this is called for amx, for the whole process. neon: 64-bit ARM with the dot product of Armv8.2-A.
bool supports(InstructionSet set);

const char* name_of(InstructionSet set);

// The set of that name; an empty name means the environment's JCB_SIMD, and without that the widest one supported.
// Throws std::invalid_argument on an unknown name and Unavailable where the processor lacks the set: there is no
// falling back from a choice.
InstructionSet choose_instruction_set(const std::string& name);

}  // namespace jcb
