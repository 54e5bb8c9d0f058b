// What an operation runs on: the kernels of one instruction set, and threads.
#pragma once
#include <string>

#include "jcb/instruction_set.h"
#include "jcb/maxsim_quantized.h"
#include "jcb/thread_pool.h"

namespace jcb {

struct VectorKernels;  // cpu/vector_kernels.h

struct Machine {
  // instruction_set_name: see choose_instruction_set. thread_count: see ThreadPool.
  // The environment's JCB_READ_AHEAD, on or off, decides about reading ahead; std::invalid_argument on any other value.
  Machine(const std::string& instruction_set_name, int thread_count);

  const InstructionSet instruction_set;
  const VectorKernels& kernels;
  const maxsim::Kernels& maxsim_kernels;
  const ThreadPool pool;
  const bool reads_ahead;  // see read_ahead.h
};

}  // namespace jcb
