// System calls made by a traced task of a recording or a replay in place of its own.
#pragma once

#include "process/proc_maps.h"
#include "process/tracee.h"

#include <array>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string_view>
#include <sys/types.h>
#include <sys/user.h>
#include <vector>

namespace rrpcp::replay {

// Where a task can make system calls: at a `syscall` instruction of its program, or at one written
// over the code at its own position, which close() or the destructor puts back.
class SyscallSite {
public:
  // `tracee` is stopped.
  SyscallSite(process::Tracee& tracee, const std::vector<process::ProcMapping>& mappings);
  SyscallSite(const SyscallSite&) = delete;
  SyscallSite& operator=(const SyscallSite&) = delete;
  ~SyscallSite();

  std::uint64_t address() const { return address_; }
  // Throws Error.
  void close();

private:
  process::Tracee& tracee_;
  std::uint64_t address_ = 0;
  std::optional<std::uint64_t> overwritten_; // the word that was there
};

// Makes system calls in a task in any kind of ptrace stop. Unlike RemoteCalls, which leaves a
// stranger's thread exactly as it was, this is for tasks whose registers the caller sets anyway:
// nothing is put back, and the task is left in the stop at the end of the last call, where a
// resumption executes what its registers then say. A system call that the task stood at the entry
// of under PTRACE_SYSEMU stays skipped.
//
// The tracee must have been given PTRACE_O_TRACESYSGOOD. Signals that arrive meanwhile are
// discarded: a replay has none, and a recorder has them blocked. x86-64 only. Use from the tracing
// thread.
class InjectedCalls {
public:
  // `instruction`: address of a `syscall` instruction in the task's memory.
  InjectedCalls(process::Tracee& tracee, std::uint64_t instruction)
      : tracee_(tracee), instruction_(instruction), base_(tracee.registers()) {}

  // Makes system call `number` and returns what the kernel returns: a negative errno for a failure.
  // Throws kProcessGone where the thread ends meanwhile.
  template <typename... Arguments>
  requires(sizeof...(Arguments) <= 6 &&
           (std::convertible_to<Arguments, std::uint64_t> && ...)) std::int64_t
      call(long number, Arguments... arguments) {
    return call_with(number, {static_cast<std::uint64_t>(arguments)...});
  }
  std::int64_t call_with(long number, const std::array<std::uint64_t, 6>& arguments);
  // The same; throws Error by errno for a failure, `what` saying what was being done.
  template <typename... Arguments>
  std::uint64_t require(std::string_view what, long number, Arguments... arguments) {
    return check(what, call(number, arguments...));
  }
  std::uint64_t check(std::string_view what, std::int64_t result) const;

  // Whether SIGSTOP, which nobody can block, was among the discarded signals.
  bool stop_discarded() const { return stop_discarded_; }

  // The task that the last call created, where the trace options report it: attached, not yet
  // waited for.
  std::optional<pid_t> new_task() const { return new_task_; }

private:
  process::Tracee& tracee_;
  std::uint64_t instruction_;
  user_regs_struct base_;
  std::optional<pid_t> new_task_;
  bool stop_discarded_ = false;
};

} // namespace rrpcp::replay
