// A recorded task that another recorded task traces with ptrace(2), as its tracer sees it.
#pragma once

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <sys/types.h>
#include <vector>

namespace rrpcp::replay {

// The recorder is the real tracer of every task, so that a recorded tracer gets an imitation: the
// recorder keeps the task where an event has brought it (RecordedTask::State::kTraced), tells the
// tracer's wait4(2), and carries out the tracer's requests itself until one lets the task go on.
// A replay knows nothing of it: what the tracer has learned is memory that its calls wrote, and
// what it has changed of the task is an event of the task.
struct EmulatedTracee {
  // The request by which it was let go on last.
  enum class Mode {
    kContinue,      // PTRACE_CONT, PTRACE_DETACH, or none yet
    kSystemCall,    // PTRACE_SYSCALL
    kStep,          // PTRACE_SINGLESTEP
    kEmulation,     // PTRACE_SYSEMU
    kEmulationStep, // PTRACE_SYSEMU_SINGLESTEP
  };
  // What it stands in (ptrace(2), "Stopped states").
  enum class Stop {
    kNone,
    kSignal, // a signal is about to be delivered
    kGroup,
    kEntry, // of a system call
    kExit,  // from a system call
    kEvent, // PTRACE_EVENT_*
  };

  pid_t tracer = 0;         // a thread
  pid_t tracer_process = 0; // whose threads may all wait for it
  bool seized = false;
  std::uint64_t options = 0; // PTRACE_O_*

  Mode mode = Mode::kContinue;
  Stop stop = Stop::kNone;
  // The kernel's exit code of the stop: signal and event << 8.
  int code = 0;
  // No wait4(2) has returned it yet.
  bool unseen = false;
  // PTRACE_GETSIGINFO, PTRACE_GETEVENTMSG.
  siginfo_t info{};
  std::uint64_t message = 0;

  // Stops that are due before it executes anything more, in this order.
  bool vfork_done = false;  // PTRACE_EVENT_VFORK_DONE, of `vfork_child`
  bool executed = false;    // PTRACE_EVENT_EXEC, of the thread `former`
  bool call_ended = false;  // the exit from a system call, or the end of a step over one
  bool stepped = false;     // the end of a step
  bool exec_trap = false;   // the SIGTRAP after execve(2) without PTRACE_O_TRACEEXEC
  bool attached = false;    // the SIGSTOP of PTRACE_ATTACH
  bool interrupted = false; // PTRACE_INTERRUPT
  pid_t vfork_child = 0;
  pid_t former = 0;

  // Number of the execve(2) that it is at the end of, which the kernel would show; else -1.
  long exec_call = -1;
  // The signal by which its process is stopped, though it may have been let go on; 0: it is not.
  int stopped_by = 0;

  // PTRACE_LISTEN: in a group stop, and told of its end.
  bool listening = false;
  // PTRACE_EVENT_EXIT was told.
  bool exit_told = false;
  // Registers beyond the general ones, or the mask, were changed in the middle of a system call,
  // whose end tells of it.
  bool extended_changed = false;
  bool mask_changed = false;

  bool steps() const { return mode == Mode::kStep || mode == Mode::kEmulationStep; }
  bool emulates() const { return mode == Mode::kEmulation || mode == Mode::kEmulationStep; }
  bool wants(std::uint64_t option) const { return (options & option) != 0; }
};

// The end of a tracee that its tracer is told of by the recorder alone: it is no child of the
// tracer's process, or a thread.
struct EndedTracee {
  pid_t tid = 0;
  pid_t group = 0; // process group
  pid_t tracer = 0;
  pid_t tracer_process = 0;
  int status = 0; // as wait4(2) gives it
};

// What a ptrace(2) request has changed besides its result, for the event of the call.
struct RequestEffects {
  struct Range {
    pid_t tid = 0; // of the task whose memory it is; 0: the tracer's own
    std::uint64_t address = 0;
    std::uint64_t length = 0;
  };
  std::vector<Range> memory;
  // The tracee whose registers or mask changed where it stands between two events; 0: none.
  pid_t changed = 0;
  bool extended = false;
  bool mask = false;

  void clear() {
    memory.clear();
    changed = 0;
    extended = false;
    mask = false;
  }
};

} // namespace rrpcp::replay
