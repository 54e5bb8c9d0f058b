// The one place that knows which processor this is, and the tables of functions per instruction set.
#include <cstdlib>
#include <string>

#include "cpu/vector_kernels.h"
#include "jcb/machine.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(JCB_HAVE_AMX) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace jcb {
namespace {

#if defined(__x86_64__)

struct Registers {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d);  // leaves zeros where the leaf does not exist
  return r;
}

// XCR0: which registers the operating system saves at a context switch.
uint64_t saved_registers() {
  const unsigned osxsave = 1u << 27;
  if ((cpuid(1, 0).c & osxsave) == 0) return 0;
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

bool all_of(uint64_t value, uint64_t bits) { return (value & bits) == bits; }

bool has_avx2() {
  const uint64_t xmm_ymm = 0x6;
  const unsigned fma = 1u << 12, avx = 1u << 28, f16c = 1u << 29;           // leaf 1, ecx
  const unsigned bmi1 = 1u << 3, avx2 = 1u << 5, bmi2 = 1u << 8;            // leaf 7, ebx
  return all_of(saved_registers(), xmm_ymm) && all_of(cpuid(1, 0).c, fma | avx | f16c) &&
         all_of(cpuid(7, 0).b, bmi1 | avx2 | bmi2);
}

bool has_avx512() {
  const uint64_t xmm_ymm_zmm_masks = 0xe6;
  const unsigned f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31;  // leaf 7, ebx
  const unsigned vnni = 1u << 11;                                            // leaf 7, ecx
  const Registers leaf7 = cpuid(7, 0);
  return has_avx2() && all_of(saved_registers(), xmm_ymm_zmm_masks) && all_of(leaf7.b, f | dq | bw | vl) &&
         all_of(leaf7.c, vnni);
}

#if defined(JCB_HAVE_AMX) && defined(__linux__)

// Linux keeps the tile registers of a process only after it has asked, since they take 8 KiB of every signal's frame.
// Threads that run, and those that start later, have what the process has.
bool tile_registers_are_granted() {
  constexpr long request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA
  static const bool granted = syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
  return granted;
}

bool has_amx() {
  const uint64_t tile_configuration_and_data = 0x60000;
  const unsigned vbmi = 1u << 1;                              // leaf 7, ecx
  const unsigned amx_tile = 1u << 24, amx_int8 = 1u << 25;    // leaf 7, edx
  const Registers leaf7 = cpuid(7, 0);
  return has_avx512() && all_of(saved_registers(), tile_configuration_and_data) && all_of(leaf7.c, vbmi) &&
         all_of(leaf7.d, amx_tile | amx_int8) && tile_registers_are_granted();
}

#else

bool has_amx() { return false; }

#endif

#else

bool has_avx2() { return false; }
bool has_avx512() { return false; }
bool has_amx() { return false; }

#endif

#if defined(__aarch64__) && defined(__linux__)

// What -march=armv8.2-a+dotprod lets a compiler use beyond the baseline.
bool has_neon_with_dot_products() {
  const unsigned long atomics = 1ul << 8, rounding_doubling = 1ul << 12, dot_products = 1ul << 20;  // of AT_HWCAP
  const unsigned long needed = atomics | rounding_doubling | dot_products;
  return (getauxval(AT_HWCAP) & needed) == needed;
}

#elif defined(__aarch64__) && defined(__APPLE__)

bool has_neon_with_dot_products() { return true; }  // Apple's first Mac of this kind is Armv8.5-A

#else

bool has_neon_with_dot_products() { return false; }

#endif

InstructionSet set_of_name(const std::string& name) {
  for (const InstructionSet set :
       {InstructionSet::kScalar, InstructionSet::kAvx2, InstructionSet::kAvx512, InstructionSet::kAmx,
        InstructionSet::kNeon}) {
    if (name == name_of(set)) return set;
  }
  throw std::invalid_argument("instruction set \"" + name +
                              "\" is unknown; allowed are scalar, avx2, avx512, amx and neon");
}

InstructionSet widest() {
  for (const InstructionSet set :
       {InstructionSet::kAmx, InstructionSet::kAvx512, InstructionSet::kAvx2, InstructionSet::kNeon}) {
    if (supports(set)) return set;
  }
  return InstructionSet::kScalar;
}

const VectorKernels& vector_kernels_of(InstructionSet set) {
  switch (set) {
#if defined(__x86_64__)
    case InstructionSet::kAmx:  // the tile unit has nothing for fp32
    case InstructionSet::kAvx512:
      return vector_kernels_avx512();
    case InstructionSet::kAvx2:
      return vector_kernels_avx2();
#elif defined(__aarch64__)
    case InstructionSet::kNeon:
      return vector_kernels_neon();
#endif
    default:
      return vector_kernels_scalar();
  }
}

const maxsim::Kernels& maxsim_kernels_of(InstructionSet set) {
  switch (set) {
#if defined(__x86_64__)
#if defined(JCB_HAVE_AMX)
    case InstructionSet::kAmx:
      return maxsim_kernels_amx();
#endif
    case InstructionSet::kAvx512:
      return maxsim_kernels_avx512();
    case InstructionSet::kAvx2:
      return maxsim_kernels_avx2();
#elif defined(__aarch64__)
    case InstructionSet::kNeon:
      return maxsim_kernels_neon();
#endif
    default:
      return maxsim_kernels_scalar();
  }
}

bool reading_ahead_is_on() {
  const char* variable = std::getenv("JCB_READ_AHEAD");
  const std::string value = variable == nullptr ? "" : variable;
  if (value.empty() || value == "on") return true;
  if (value == "off") return false;
  throw std::invalid_argument("JCB_READ_AHEAD is \"" + value + "\"; allowed are on and off");
}

}  // namespace

bool supports(InstructionSet set) {
  switch (set) {
    case InstructionSet::kScalar:
      return true;
    case InstructionSet::kAvx2:
      return has_avx2();
    case InstructionSet::kAvx512:
      return has_avx512();
    case InstructionSet::kAmx:
      return has_amx();
    case InstructionSet::kNeon:
      return has_neon_with_dot_products();
  }
  return false;
}

const char* name_of(InstructionSet set) {
  switch (set) {
    case InstructionSet::kScalar:
      return "scalar";
    case InstructionSet::kAvx2:
      return "avx2";
    case InstructionSet::kAvx512:
      return "avx512";
    case InstructionSet::kAmx:
      return "amx";
    case InstructionSet::kNeon:
      return "neon";
  }
  return "";
}

InstructionSet choose_instruction_set(const std::string& name) {
  const char* variable = std::getenv("JCB_SIMD");
  const std::string wanted = !name.empty() || variable == nullptr ? name : variable;
  if (wanted.empty()) return widest();
  const InstructionSet set = set_of_name(wanted);
  if (!supports(set)) {
    const std::string why = set == InstructionSet::kAmx ? ", or its system or the compiler of these kernels does" : "";
    throw Unavailable("this processor lacks the instruction set " + wanted + why + "; it runs " + name_of(widest()) +
                      " (choose that, or unset JCB_SIMD)");
  }
  return set;
}

Machine::Machine(const std::string& instruction_set_name, int thread_count)
    : instruction_set(choose_instruction_set(instruction_set_name)),
      kernels(vector_kernels_of(instruction_set)),
      maxsim_kernels(maxsim_kernels_of(instruction_set)),
      pool(thread_count),
      reads_ahead(reading_ahead_is_on()) {}

}  // namespace jcb
