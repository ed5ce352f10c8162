// The way of a replayed task to its event, and the comparison there.

#include "replay/engine/host_trials.h"
#include "replay/engine/register_compare.h"
#include "replay/engine/replay_session.h"
#include "replay/engine/trapped_instructions.h"
#include "rrpcp/error.h"
#include "trace/call_table.h"
#include "trace/system_call.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <ctime>
#include <span>
#include <sys/ptrace.h>
#include <sys/user.h>

namespace rrpcp::replay {

namespace {

std::string hexadecimal(std::uint64_t address) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(address));
  return text;
}

// That a process has used so far; 0 where it is gone.
std::chrono::nanoseconds processor_time(pid_t pid) {
  clockid_t clock{};
  timespec time{};
  if (::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &time) != 0) {
    return {};
  }
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

constexpr std::byte kTrapInstruction{0xcc}; // int3

bool ends_in_fault(const trace::EventData& event) {
  return event.kind == trace::EventKind::kTrap || event.kind == trace::EventKind::kExit ||
         (event.kind == trace::EventKind::kSignal &&
          event.cause != schema::SignalCause::ASYNCHRONOUS);
}

} // namespace

// Lets the task run to the event and compares.
Way ReplaySession::reach(Task& task, const Limits& limits) {
  if (!ends_in_fault(current_)) {
    return run_with_traps(task, limits);
  }
  // Where the recording's processor trapped the instruction by arrangement, this one need not:
  // `ud2` takes its place meanwhile.
  const std::uint64_t address = current_.registers->rip;
  if (current_.kind == trace::EventKind::kTrap && is_changeable(task, address)) {
    return run_to_changeable_code(task, limits);
  }
  std::array<std::byte, kLongestInstruction> code{};
  const std::size_t length = task.memory.read_some(address, code);
  if (!decode_trapped(std::span(code).first(length))) {
    const bool replaced =
        length >= kUndefinedInstruction.size() &&
        std::equal(kUndefinedInstruction.begin(), kUndefinedInstruction.end(), code.begin());
    return current_.kind == trace::EventKind::kTrap && !replaced ? run_to_unseen_code(task, limits)
                                                                 : run_with_traps(task, limits);
  }
  task.memory.write(address, kUndefinedInstruction);
  const Way way = run_with_traps(task, limits);
  task.memory.write(address, std::span(code).first(kUndefinedInstruction.size()));
  return way;
}

// Lets the task run with `int3` at the addresses where it is to stop. They are there only while it
// runs: nothing else sees them.
Way ReplaySession::run_with_traps(Task& task, const Limits& limits) {
  if (limits.traps.empty()) {
    return run_to_stop(task, limits);
  }
  std::vector<std::pair<std::uint64_t, std::byte>> before;
  before.reserve(limits.traps.size());
  for (std::uint64_t address : limits.traps) {
    std::byte byte{};
    if (task.memory.read_some(address, std::span(&byte, 1)) == 1) {
      before.emplace_back(address, byte);
      task.memory.write(address, std::span(&kTrapInstruction, 1));
    }
  }
  const Way way = run_to_stop(task, limits);
  for (auto at = before.rbegin(); at != before.rend(); ++at) {
    task.memory.write(at->first, std::span(&at->second, 1));
  }
  return way;
}

// Waits for a stop of a task that runs, however long it computes; but not for ever: what took the
// recorded program some time does not take a replay many times that.
// Nothing where `interrupt` was set, or the deadline has passed.
std::optional<process::TraceeStop>
ReplaySession::await_stop(Task& task, const std::atomic<bool>* interrupt, Deadline deadline) {
  const std::chrono::microseconds kLookAgain(interrupt != nullptr ? 50'000 : 2'000'000);
  constexpr std::chrono::seconds kAlwaysAllowed(120);
  constexpr int kTimesAllowed = 50;
  const std::chrono::nanoseconds begun = processor_time(task.pid);
  const std::chrono::nanoseconds recorded(
      current_.time > event_before_at_ ? current_.time - event_before_at_ : 0);
  for (;;) {
    std::chrono::microseconds wait = kLookAgain;
    if (deadline) {
      const auto left = std::chrono::duration_cast<std::chrono::microseconds>(
          *deadline - std::chrono::steady_clock::now());
      wait = std::clamp(left, std::chrono::microseconds::zero(), kLookAgain);
    }
    if (const std::optional<TaskReport> report = waiter_.wait_for(wait, task.tracee.tid())) {
      ++stops_;
      return task.tracee.take_report(report->status);
    }
    const std::chrono::nanoseconds used = used_before_ + processor_time(task.pid) - begun;
    if (deadline && std::chrono::steady_clock::now() >= *deadline) {
      used_before_ = used;
      return std::nullopt;
    }
    if (interrupt != nullptr && interrupt->load(std::memory_order_relaxed)) {
      return std::nullopt;
    }
    if (used > kAlwaysAllowed + kTimesAllowed * recorded) {
      diverged(
          "the program has computed for " +
          std::to_string(std::chrono::duration_cast<std::chrono::seconds>(used).count()) +
          " s and not come to the event, for which it took " +
          std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(recorded).count()) +
          " ms when it was recorded");
    }
  }
}

Way ReplaySession::run_to_stop(Task& task, const Limits& limits) {
  const int way = current_.is_step() ? PTRACE_SYSEMU_SINGLESTEP : PTRACE_SYSEMU;
  task.tracee.resume(way);
  for (;;) {
    std::optional<process::TraceeStop> next = await_stop(task, limits.interrupt, limits.deadline);
    if (!next) {
      next = interrupt_running(task.tracee);
      if (!next) {
        return Way::kInterrupted;
      }
    }
    const process::TraceeStop stop = *next;
    if (stop.gone()) {
      throw Error(ErrorCode::kProcessGone, "a replayed process was killed by somebody at event " +
                                               std::to_string(state_.event) + ", task " +
                                               std::to_string(current_.task));
    }
    const bool wants_fault = ends_in_fault(current_);
    if (stop.syscall_stop()) {
      const user_regs_struct registers = task.tracee.registers();
      task.site = registers.rip - trace::kSyscallLength;
      if (wants_fault) {
        diverged("it made the system call " +
                 trace::system_call_name(static_cast<long>(registers.orig_rax)));
      }
      if (std::optional<std::string> difference =
              first_difference(registers, *current_.registers)) {
        const auto recorded = static_cast<long>(current_.registers->orig_rax);
        diverged("at the entry of " +
                 trace::system_call_name(static_cast<long>(registers.orig_rax)) +
                 (registers.orig_rax != current_.registers->orig_rax
                      ? " (recorded: " + trace::system_call_name(recorded) + ")"
                      : "") +
                 ", " + *difference);
      }
      compare_inputs(task);
      return Way::kArrived;
    }
    if (const int signal = stop.signal(); signal != 0) {
      const siginfo_t info = task.tracee.signal_info();
      const bool fault =
          info.si_code > 0 && (signal == SIGSEGV || signal == SIGBUS || signal == SIGILL ||
                               signal == SIGFPE || signal == SIGTRAP);
      if (fault) {
        user_regs_struct registers = task.tracee.registers();
        if (signal == SIGTRAP && info.si_code == SI_KERNEL &&
            std::find(limits.traps.begin(), limits.traps.end(), registers.rip - 1) !=
                limits.traps.end()) {
          --registers.rip;
          task.tracee.set_registers(registers);
          return Way::kTrap;
        }
        const auto place = reinterpret_cast<std::uint64_t>(info.si_addr);
        if (signal == SIGSEGV && info.si_code == SEGV_ACCERR && place >= guarded_.first &&
            place < guarded_.second) {
          wrote_code_ = true;
          return Way::kInterrupted;
        }
        if (!wants_fault) {
          diverged("signal " + std::to_string(signal) + " at address " +
                   hexadecimal(registers.rip));
        }
        if (std::optional<std::string> difference =
                first_difference(registers, *current_.registers)) {
          diverged("at a fault (signal " + std::to_string(signal) + "), " + *difference);
        }
        return Way::kArrived;
      }
    }
    // Somebody's signal: nothing of the recording.
    task.tracee.resume(way);
  }
}

// What the call that the task has come to reads: first of all what the program writes.
void ReplaySession::compare_inputs(Task& task) {
  if (current_.inputs.empty()) {
    return;
  }
  const std::optional<std::uint64_t> digest = digest_.of(task.memory, current_.inputs);
  if (digest == current_.input_digest) {
    return;
  }
  std::string places;
  for (std::size_t i = 0; i < current_.inputs.size() && i < 4; ++i) {
    const trace::EventData::Range& range = current_.inputs[i];
    places += (i == 0 ? "" : ", ") + std::to_string(range.length) + " bytes at " +
              hexadecimal(range.address);
  }
  places += current_.inputs.size() > 4 ? ", …" : "";
  diverged("what " + trace::system_call_name(static_cast<long>(current_.registers->orig_rax)) +
           " reads " + (digest ? "has other contents" : "is not all there") + " (" + places + ")");
}

void ReplaySession::compare_output(Task& task) {
  if (current_.output_digest != 0 &&
      digest_.of(task.memory, current_.output_ranges) != current_.output_digest) {
    diverged("the program writes other bytes to descriptor " + std::to_string(current_.output));
  }
}

void ReplaySession::compare_memory(Task& task) {
  ++comparisons_;
  const std::optional<PageDifference> difference =
      find_difference(task.tracee.tid(), task.memory, current_);
  if (!difference) {
    return;
  }
  diverged("after it, memory differs from " + hexadecimal(difference->address) + " on (" +
           std::to_string(difference->pages) + (difference->pages == 1 ? " page" : " pages") +
           (difference->unknown ? ", which the recorded program had not touched)" : ")"));
}

} // namespace rrpcp::replay
