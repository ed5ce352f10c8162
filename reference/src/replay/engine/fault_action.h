// What a process does on SIGSEGV, SIGILL and SIGTRAP, kept over instructions that fault, or are
// stepped over, by arrangement.
#pragma once

#include "process/remote_memory.h"
#include "process/tracee.h"

#include <array>
#include <csignal>
#include <cstdint>

namespace rrpcp::replay {

// As rt_sigaction(2) has it: handler, flags, restorer, mask.
//
// A fault cannot be blocked or ignored: where its signal is, the kernel unblocks it and sets its
// action to the default before the tracer sees anything (kernel/signal.c, force_sig_info_to_task).
// Whoever carries out the instruction instead has to put both back.
using FaultAction = std::array<std::uint64_t, 4>;

inline constexpr std::uint64_t kFaultBits =
    (std::uint64_t{1} << (SIGSEGV - 1)) | (std::uint64_t{1} << (SIGILL - 1));

inline bool ignores(const FaultAction& action) {
  return action[0] == 1; // SIG_IGN
}

// Whether the task's own instruction has raised the signal.
inline bool is_synchronous(const siginfo_t& info) {
  switch (info.si_signo) {
  case SIGILL:
  case SIGTRAP:
  case SIGBUS:
  case SIGFPE:
  case SIGSEGV:
    return info.si_code > 0;
  default:
    return false;
  }
}

// Of the two signals that such instructions fault with, SIGSEGV where the processor traps them,
// SIGILL where they were replaced, and of SIGTRAP, which ends a single step.
struct FaultActions {
  FaultAction segv{};
  FaultAction ill{};
  FaultAction trap{};

  // Nothing for another signal.
  FaultAction* of(int signal) {
    return signal == SIGSEGV   ? &segv
           : signal == SIGILL  ? &ill
           : signal == SIGTRAP ? &trap
                               : nullptr;
  }
  // Of the signals that instructions fault with.
  bool ignores_any() const { return ignores(segv) || ignores(ill); }
};

// Both make a system call in a stopped task with the `syscall` instruction at `site`; some bytes of
// its stack's page serve for a moment. Registers and mask are as before then, but for the number of
// an interrupted call: nothing is restarted. Signals that come meanwhile stay pending. Throw Error.
FaultAction fault_action(process::Tracee& tracee, process::RemoteMemory& memory, std::uint64_t site,
                         int signal);
void set_fault_action(process::Tracee& tracee, process::RemoteMemory& memory, std::uint64_t site,
                      int signal, const FaultAction& action);

} // namespace rrpcp::replay
