// What the library and the restorer, the code that runs in the new process, tell each other.
//
// The restorer is a small machine without a will of its own: it works through a list of operations,
// nearly all of them system calls, which the library has compiled in advance (op_list.h). List,
// data, stacks and the code itself lie in one shared mapping, the arena (arena.h), at the same
// address in both processes, so that pointers mean the same on both sides.
#pragma once

#include <cstdint>

namespace rrpcp::process::restorer {

// What to do about one operation.
enum class OpKind : std::uint16_t {
  // result = syscall(number, args[0..5]); a result in [-4095, -1] is a failure.
  kSyscall,
  // Reads exactly args[2] bytes at file offset args[3] of descriptor args[0] into address args[1].
  kRead,
  // Reads exactly args[4] bytes at offset args[3] of descriptor args[0] into the args[2] pieces
  // of the struct iovec array at args[1], which is changed. args[5] must be 0.
  kReadVector,
  // Fills args[1] bytes at address args[0] with zeros.
  kZero,
  // result = the 8 bytes at address args[0].
  kLoad,
  // Creates a thread: clone3(args[0], args[1]). The new thread works on the Thread at args[2].
  kStartThread,
  // Queues the siginfo_t at args[0] as signal args[1] for the thread itself, or, where args[2] is
  // not 0, for its process.
  kQueueSignal,
  // Sets Control::stage to args[0] and wakes the library.
  kReachStage,
  // Waits until Control::permitted_stage is args[0] or more.
  kAwaitStage,
  // Ends the process where its parent is not process args[0]: the restorer has died before the
  // kernel was asked to kill the process then.
  kEndIfOrphan,
};

// A failure stops the restorer unless the operation says otherwise.
enum OpFlags : std::uint16_t {
  // Go on after a failure; the library reads the result afterwards.
  kMayFail = 1,
};

struct Op {
  OpKind kind;
  std::uint16_t flags;
  std::uint32_t number;
  std::uint64_t args[6];
  // Of the system call, negative errno for a failure. Undefined before the operation ran.
  std::int64_t result;
};
static_assert(sizeof(Op) == 64);

// Shared by all threads of the new process and the library. Integers that change are accessed
// atomically; `ticket` is the futex (process-shared) on which the library waits.
struct Control {
  // Grows with every change of the other fields by the restorer.
  std::uint32_t ticket;
  // Set by the leader as it goes.
  std::uint32_t stage;
  // Set by the library; the futex on which the restorer waits.
  std::uint32_t permitted_stage;
  // Threads, the leader included, that have done all of their operations.
  std::uint32_t threads_done;
  // 1: an operation failed; failed_op is its address and its result says why.
  std::uint32_t failed;
  // Never changes: the futex on which a thread that has nothing to do waits.
  std::uint32_t never;
  std::uint64_t failed_op;
};

// The work of one thread. Lies at the upper end of the thread's stack area.
struct Thread {
  Op* ops;
  std::uint64_t op_count;
  Control* control;
  // Initial stack pointer, a multiple of 16.
  std::uint64_t stack_top;
};

// Bytes of stack that a thread of the restorer needs at most. Nothing is pushed by the kernel:
// signals are blocked all the time.
inline constexpr std::uint64_t kStackBytes = 1024;

} // namespace rrpcp::process::restorer
