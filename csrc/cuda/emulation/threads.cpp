#include "cuda/emulation/threads.h"

#include <ucontext.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <random>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace jcb::cuda::emulation {
namespace {

constexpr size_t kStackBytes = 256 << 10;
constexpr unsigned kLongestRest = 600;  // turns for which a warp may be held back

// All that take part have to come; the last one opens it, and the next meeting begins.
struct Meeting {
  int expected = 0, arrived = 0;
  uint64_t number = 0;
  const char* operation = nullptr;
};

struct Warp {
  Meeting meeting;
  // Two sets: a fast lane may hand in for the next operation before a slow one has fetched the results of this one.
  alignas(16) char in[2][kLanes * kMostBytes];
  alignas(16) char out[2][kLanes * kMostBytes];
  unsigned rests = 0;  // turns for which its lanes do not run
};

struct Copy {
  void* to;
  const void* from;
  size_t bytes;
};

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  unsigned thread = 0;
  bool ended = false;
  const char* waits_at = "its first instruction";
  std::vector<std::vector<Copy>> copies{1};  // groups, the open one last
};

// One block at a time.
struct Block {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  Meeting meeting;
  std::unique_ptr<char[]> shared;  // of exactly the size asked for: a sanitizer sees what goes beyond
  size_t shared_bytes = 0;
  ucontext_t scheduler;
  Fiber* current = nullptr;
  uint64_t steps = 0;  // rises when anybody gets anywhere
  std::exception_ptr error;
  const std::function<void()>* kernel = nullptr;
  std::mt19937 random;
  // The scheduler's stack, for the address sanitizer.
  const void* stack_bottom = nullptr;
  size_t stack_size = 0;
};

Block* block = nullptr;

#if defined(__SANITIZE_ADDRESS__)
void begin_switch(void** kept, const void* bottom, size_t size) { __sanitizer_start_switch_fiber(kept, bottom, size); }
void end_switch(void* kept, const void** bottom, size_t* size) { __sanitizer_finish_switch_fiber(kept, bottom, size); }
#else
void begin_switch(void**, const void*, size_t) {}
void end_switch(void*, const void**, size_t*) {}
#endif

void yield_to_scheduler() {
  Fiber& self = *block->current;
  void* kept = nullptr;
  begin_switch(self.ended ? nullptr : &kept, block->stack_bottom, block->stack_size);
  swapcontext(&self.context, &block->scheduler);
  end_switch(kept, nullptr, nullptr);
}

void run(Fiber& fiber) {
  block->current = &fiber;
  threadIdx = {fiber.thread, 0, 0};
  void* kept = nullptr;
  begin_switch(&kept, fiber.stack.get(), kStackBytes);
  swapcontext(&block->scheduler, &fiber.context);
  end_switch(kept, nullptr, nullptr);
}

void open(Meeting& meeting) {
  meeting.arrived = 0;
  meeting.operation = nullptr;
  ++meeting.number;
  ++block->steps;
}

// Waits for the others; the last one to come calls `act` first.
template <class Last>
void meet(Meeting& meeting, const char* operation, const Last& act) {
  if (meeting.operation != nullptr && std::strcmp(meeting.operation, operation) != 0) {
    throw KernelFault(std::string("threads meet at different operations: ") + operation + " and " + meeting.operation);
  }
  meeting.operation = operation;
  const uint64_t number = meeting.number;
  if (++meeting.arrived == meeting.expected) {
    act();
    return open(meeting);
  }
  block->current->waits_at = operation;
  while (meeting.number == number) yield_to_scheduler();
}

// A thread that has ended is not waited for; at a barrier of the block that is what the machine does.
void leave(Meeting& meeting) {
  if (--meeting.expected > 0 && meeting.arrived == meeting.expected) open(meeting);
}

Warp& warp_of(const Fiber& fiber) { return block->warps[fiber.thread / kLanes]; }

void fiber_main() {
  end_switch(nullptr, &block->stack_bottom, &block->stack_size);
  Fiber& self = *block->current;
  try {
    (*block->kernel)();
  } catch (...) {
    block->error = std::current_exception();
  }
  self.ended = true;
  ++block->steps;
  leave(warp_of(self).meeting);
  leave(block->meeting);
  yield_to_scheduler();
}

void make_fibers(unsigned threads) {
  block->fibers = std::vector<Fiber>(threads);
  block->warps = std::vector<Warp>((threads + kLanes - 1) / kLanes);
  block->meeting = {};
  block->meeting.expected = static_cast<int>(threads);
  for (unsigned i = 0; i < threads; ++i) {
    Fiber& fiber = block->fibers[i];
    fiber.thread = i;
    ++warp_of(fiber).meeting.expected;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, fiber_main, 0);
  }
}

// No warp may count on the pace of another.
void hold_warps_back() {
  for (Warp& warp : block->warps) {
    if (warp.rests > 0) {
      --warp.rests;
    } else if (block->random() % 64 == 0) {
      warp.rests = static_cast<unsigned>(block->random() % kLongestRest);
    }
  }
}

bool wake_all_warps() {
  bool woken = false;
  for (Warp& warp : block->warps) woken = woken || warp.rests > 0, warp.rests = 0;
  return woken;
}

void run_block(unsigned threads) {
  make_fibers(threads);
  std::vector<Fiber*> order;
  for (Fiber& fiber : block->fibers) order.push_back(&fiber);
  std::shuffle(order.begin(), order.end(), block->random);
  while (std::any_of(order.begin(), order.end(), [](const Fiber* fiber) { return !fiber->ended; })) {
    const uint64_t before = block->steps;
    hold_warps_back();
    for (Fiber* fiber : order) {
      if (fiber->ended || warp_of(*fiber).rests > 0) continue;
      run(*fiber);
      if (block->error != nullptr) std::rethrow_exception(block->error);
    }
    if (block->steps != before || wake_all_warps()) continue;
    const auto stuck = std::find_if(order.begin(), order.end(), [](const Fiber* fiber) { return !fiber->ended; });
    throw KernelFault("no thread can move: thread " + std::to_string((*stuck)->thread) + " waits at " +
                      (*stuck)->waits_at);
  }
}

}  // namespace

void launch(unsigned blocks, unsigned threads, size_t shared_bytes, uint32_t seed,
            const std::function<void()>& kernel) {
  if (threads < 1 || threads > 1024) throw KernelFault("a block has 1 to 1,024 threads");
  Block own;
  struct Restore {
    Block* before = block;
    ~Restore() { block = before; }
  } restore;
  block = &own;
  own.kernel = &kernel;
  own.random.seed(seed);
  gridDim = {blocks, 1, 1};
  blockDim = {threads, 1, 1};
  for (unsigned i = 0; i < blocks; ++i) {
    blockIdx = {i, 0, 0};
    own.shared.reset(new char[shared_bytes]);  // new aligns to 16 bytes
    own.shared_bytes = shared_bytes;
    std::memset(own.shared.get(), 0xff, shared_bytes);  // NaN: what nobody wrote shows up
    run_block(threads);
  }
}

char* shared_memory() { return block->shared.get(); }
size_t shared_size() { return block->shared_bytes; }
bool coin() { return (block->random() & 1) != 0; }

void meet_block(const char* operation) { meet(block->meeting, operation, [] {}); }

void meet_warp(const char* operation, const void* in, size_t in_bytes, void* out, size_t out_bytes, Act act,
               const void* context) {
  Warp& warp = warp_of(*block->current);
  const size_t lane = block->current->thread % kLanes, set = warp.meeting.number & 1;
  std::memcpy(warp.in[set] + lane * in_bytes, in, in_bytes);
  meet(warp.meeting, operation, [&] {
    if (warp.meeting.expected != kLanes) {
      throw KernelFault(std::string(operation) + " needs all 32 lanes of a warp, and one has ended");
    }
    act(context, warp.in[set], warp.out[set]);
  });
  std::memcpy(out, warp.out[set] + lane * out_bytes, out_bytes);
}

void begin_copy(void* to, const void* from, size_t bytes) {
  if (coin()) {
    std::memcpy(to, from, bytes);
  } else {
    block->current->copies.back().push_back({to, from, bytes});
  }
}

void close_copies() { block->current->copies.emplace_back(); }

void wait_for_copies(size_t pending) {
  auto& groups = block->current->copies;
  while (groups.size() > pending + 1) {
    for (const Copy& copy : groups.front()) std::memcpy(copy.to, copy.from, copy.bytes);
    groups.erase(groups.begin());
  }
}

}  // namespace jcb::cuda::emulation
