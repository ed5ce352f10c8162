// The way of a replayed task to its event, and the comparison there.

#include "replay/engine/register_compare.h"
#include "replay/engine/replay_session.h"
#include "replay/engine/system_call.h"
#include "replay/engine/trapped_instructions.h"
#include "rrpcp/error.h"
#include "trace/system_call_names.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <sys/ptrace.h>

namespace rrpcp::replay {

namespace {

bool ends_in_fault(const EventData& event) {
  return event.kind == EventKind::kTrap || event.kind == EventKind::kExit ||
         (event.kind == EventKind::kSignal && event.cause == schema::SignalCause::FAULT);
}

} // namespace

// Lets the task run to the event and compares. False where it did not get there in time.
bool ReplaySession::reach(Task& task, Deadline deadline) {
  if (!ends_in_fault(current_)) {
    return run_to_stop(task, deadline);
  }
  // Where the recording's processor trapped the instruction by arrangement, this one need not:
  // `ud2` takes its place meanwhile.
  const std::uint64_t address = current_.registers->rip;
  std::array<std::byte, kLongestInstruction> code{};
  const std::size_t length = task.memory.read_some(address, code);
  if (!decode_trapped(std::span(code).first(length))) {
    return run_to_stop(task, deadline);
  }
  task.memory.write(address, kUndefinedInstruction);
  const bool reached = run_to_stop(task, deadline);
  task.memory.write(address, std::span(code).first(kUndefinedInstruction.size()));
  return reached;
}

bool ReplaySession::run_to_stop(Task& task, Deadline deadline) {
  task.tracee.resume(PTRACE_SYSEMU);
  for (;;) {
    TraceeStop stop;
    if (deadline) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          std::max(*deadline - std::chrono::steady_clock::now(),
                   std::chrono::steady_clock::duration::zero()));
      std::optional<TraceeStop> in_time = task.tracee.wait_for(left);
      if (!in_time) {
        task.tracee.interrupt();
        in_time = task.tracee.wait();
        if (in_time->event_stop()) {
          return false;
        }
      }
      stop = *in_time;
    } else {
      stop = task.tracee.wait();
    }
    if (stop.gone()) {
      throw Error(ErrorCode::kProcessGone, "a replayed process was killed by somebody at event " +
                                               std::to_string(state_.event) + ", task " +
                                               std::to_string(current_.task));
    }
    const bool wants_fault = ends_in_fault(current_);
    if (stop.syscall_stop()) {
      const user_regs_struct registers = task.tracee.registers();
      task.site = registers.rip - kSyscallLength;
      if (wants_fault) {
        diverged("it made the system call " +
                 system_call_name(static_cast<long>(registers.orig_rax)));
      }
      if (std::optional<std::string> difference =
              first_difference(registers, *current_.registers)) {
        const auto recorded = static_cast<long>(current_.registers->orig_rax);
        diverged("at the entry of " + system_call_name(static_cast<long>(registers.orig_rax)) +
                 (registers.orig_rax != current_.registers->orig_rax
                      ? " (recorded: " + system_call_name(recorded) + ")"
                      : "") +
                 ", " + *difference);
      }
      return true;
    }
    if (const int signal = stop.signal(); signal != 0) {
      const siginfo_t info = task.tracee.signal_info();
      const bool fault =
          info.si_code > 0 && (signal == SIGSEGV || signal == SIGBUS || signal == SIGILL ||
                               signal == SIGFPE || signal == SIGTRAP);
      if (fault) {
        const user_regs_struct registers = task.tracee.registers();
        if (!wants_fault) {
          char address[32];
          std::snprintf(address, sizeof address, "0x%llx", registers.rip);
          diverged("signal " + std::to_string(signal) + " at address " + address);
        }
        if (std::optional<std::string> difference =
                first_difference(registers, *current_.registers)) {
          diverged("at a fault (signal " + std::to_string(signal) + "), " + *difference);
        }
        return true;
      }
    }
    // Somebody's signal: nothing of the recording.
    task.tracee.resume(PTRACE_SYSEMU);
  }
}
} // namespace rrpcp::replay
