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
  Machine(const std::string& instruction_set_name, int thread_count);

  const InstructionSet instruction_set;
  const VectorKernels& kernels;
  const PrepareQueriesFunction prepare_queries;
  const ThreadPool pool;
};

}  // namespace jcb
