// wait4(2) and waitid(2) of tasks that trace others.

#include "process/proc_status.h"
#include "process/proc_tasks.h"
#include "replay/engine/recorder.h"
#include "rrpcp/error.h"
#include "trace/system_call.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <optional>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace rrpcp::replay {

namespace {

using State = RecordedTask::State;
using Stop = EmulatedTracee::Stop;

constexpr std::size_t kUsageLength = 144; // struct rusage

// The kernel's status word of a stop.
int stop_status(int code) {
  return code << 8 | 0x7f;
}

template <typename T> void put(RecordedTask& task, std::uint64_t address, const T& value) {
  if (address == 0) {
    return;
  }
  try {
    task.memory.write(address, std::as_bytes(std::span(&value, 1)));
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kProcessGone) {
      throw;
    }
    // The kernel says EFAULT, and has taken the report all the same.
  }
}

} // namespace

// What a call waits for.
struct Recorder::WaitFor {
  explicit WaitFor(const RecordedTask& task);

  bool by_id() const { return call.number == SYS_waitid; }
  // Whether it is for the task `tid` of process group `group`, traced by a thread of the caller's
  // process.
  bool matches(pid_t tid, pid_t group, pid_t tracer, pid_t tracer_process) const {
    if (tracer_process != caller_process || ((options & __WNOTHREAD) != 0 && tracer != caller)) {
      return false;
    }
    return task != 0 ? tid == task : wanted_group == 0 || group == wanted_group;
  }

  trace::SystemCall call;
  pid_t caller = 0;
  pid_t caller_process = 0;
  pid_t task = 0;         // 0: any
  pid_t wanted_group = 0; // 0: any
  std::uint64_t options = 0;
  bool known = true; // else it is none that may be traced
};

Recorder::WaitFor::WaitFor(const RecordedTask& from)
    : call(from.call), caller(from.tid), caller_process(from.pid) {
  if (!by_id()) {
    const auto id = static_cast<pid_t>(call[0]);
    options = call[2];
    task = id > 0 ? id : 0;
    wanted_group = id == 0 ? ::getpgid(from.pid) : id < -1 ? -id : 0;
    return;
  }
  options = call[3];
  const auto id = static_cast<pid_t>(call[1]);
  switch (call[0]) {
  case P_ALL:
    break;
  case P_PID:
    task = id;
    break;
  case P_PGID:
    wanted_group = id != 0 ? id : ::getpgid(from.pid);
    break;
  default:
    known = false; // P_PIDFD
    break;
  }
}

// Whether tracees are among those that are waited for, or ended ones of which only the recorder
// tells.
bool Recorder::waits_for_any(const WaitFor& wanted) const {
  return std::any_of(scheduler_.tasks().begin(), scheduler_.tasks().end(), [&](const auto& entry) {
    const RecordedTask& task = *entry.second;
    return task.traced && wanted.matches(task.tid, ::getpgid(task.pid), task.traced->tracer,
                                         task.traced->tracer_process);
  });
}

// Whether the kernel, who knows nothing of the tracing, has the call wait.
bool Recorder::kernel_would_wait(const RecordedTask& task, const WaitFor& wanted) const {
  if (wanted.task != 0) {
    const RecordedTask* tracee = scheduler_.find(wanted.task);
    return tracee != nullptr && tracee->tid == tracee->pid && tracee->parent_process == task.pid;
  }
  return !process::read_children(task.pid).empty();
}

// What the call reports of a task; it returns `tid`, waitid(2) 0. (The kernel knows the usage of
// its resources, the recorder tells of none.)
void Recorder::put_wait_result(RecordedTask& task, const WaitFor& wanted, pid_t tid, int status,
                               bool ended) {
  const std::array<std::byte, kUsageLength> usage{};
  if (!wanted.by_id()) {
    put(task, wanted.call[1], status);
    put(task, wanted.call[3], usage);
    return;
  }
  siginfo_t info{};
  info.si_signo = tid != 0 ? SIGCHLD : 0;
  info.si_pid = tid;
  if (ended) {
    info.si_code = WIFSIGNALED(status) ? CLD_KILLED : CLD_EXITED;
    info.si_status = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
  } else if (tid != 0) {
    info.si_code = CLD_TRAPPED;
    info.si_status = status >> 8;
    if (const std::optional<process::ProcStatus> known = process::ProcStatus::try_read(tid, tid)) {
      info.si_uid = known->uids[0];
    }
  }
  // Neither si_errno nor what lies between is written by the kernel.
  constexpr std::size_t kWritten = offsetof(siginfo_t, si_status) + sizeof info.si_status;
  std::array<std::byte, kWritten> bytes{};
  std::copy_n(reinterpret_cast<const std::byte*>(&info), kWritten, bytes.begin());
  put(task, wanted.call[2], bytes);
  put(task, wanted.call[4], usage);
}

// Takes a report of a tracee that no wait has taken. False: there is none.
bool Recorder::take_tracee(RecordedTask& task, const WaitFor& wanted, std::int64_t& result) {
  const bool leave = wanted.by_id() && (wanted.options & WNOWAIT) != 0;
  if (!wanted.by_id() || (wanted.options & WEXITED) != 0) {
    for (auto at = ended_tracees_.begin(); at != ended_tracees_.end(); ++at) {
      if (wanted.matches(at->tid, at->group, at->tracer, at->tracer_process)) {
        put_wait_result(task, wanted, at->tid, at->status, true);
        result = wanted.by_id() ? 0 : at->tid;
        if (!leave) {
          ended_tracees_.erase(at);
        }
        return true;
      }
    }
  }
  for (const auto& [tid, tracee] : scheduler_.tasks()) {
    if (!tracee->traced || !tracee->traced->unseen || tracee->state == State::kDying ||
        !wanted.matches(tid, ::getpgid(tracee->pid), tracee->traced->tracer,
                        tracee->traced->tracer_process)) {
      continue;
    }
    put_wait_result(task, wanted, tid, stop_status(tracee->traced->code), false);
    result = wanted.by_id() ? 0 : tid;
    tracee->traced->unseen = leave;
    return true;
  }
  return false;
}

void Recorder::prepare_wait(RecordedTask& task) {
  const WaitFor wanted(task);
  std::int64_t result = 0;
  if (!wanted.known) {
    return;
  }
  if (take_tracee(task, wanted, result)) {
    answer(task, result, "");
    return;
  }
  if (!waits_for_any(wanted) || kernel_would_wait(task, wanted)) {
    return;
  }
  if ((wanted.options & WNOHANG) != 0) {
    if (wanted.by_id()) {
      put_wait_result(task, wanted, 0, 0, false);
    }
    answer(task, 0, "");
    return;
  }
  // The kernel would say that there is nobody to wait for.
  user_regs_struct registers = task.entry;
  registers.orig_rax = SYS_pause;
  task.tracee.set_registers(registers);
  task.paused = true;
}

// At the end of the call, which a report of a tracee may have interrupted.
void Recorder::finish_wait(RecordedTask& task, user_regs_struct& registers) {
  const bool paused = std::exchange(task.paused, false);
  auto result = static_cast<std::int64_t>(registers.rax);
  const WaitFor wanted(task);
  if (!wanted.known) {
    return;
  }
  const std::int64_t before = result;
  bool anew = false;
  if (paused || trace::is_restart(result) || result == -ECHILD) {
    if (!take_tracee(task, wanted, result)) {
      if (paused) {
        result = trace::kRestartSystemCall;
      } else if (result == -ECHILD && waits_for_any(wanted)) {
        const bool waits = (wanted.options & WNOHANG) == 0;
        result = waits ? trace::kRestartSystemCall : 0;
        anew = waits;
      }
    }
  } else if (result >= 0) {
    // A tracer is not told of the stop of a child in the way of a parent, too.
    int status = 0;
    auto reported = static_cast<pid_t>(result);
    if (!wanted.by_id()) {
      task.memory.read_some(wanted.call[1], std::as_writable_bytes(std::span(&status, 1)));
    } else if (siginfo_t info{};
               task.memory.read_some(wanted.call[2], std::as_writable_bytes(std::span(&info, 1))) ==
               sizeof info) {
      reported = info.si_pid;
      status = info.si_code == CLD_STOPPED || info.si_code == CLD_CONTINUED ? 0xffff : 0;
    }
    const RecordedTask* tracee = reported > 0 ? scheduler_.find(reported) : nullptr;
    if (tracee != nullptr && tracee->traced && tracee->traced->tracer_process == task.pid &&
        (WIFSTOPPED(status) || WIFCONTINUED(status))) {
      result = trace::kRestartSystemCall;
      anew = true;
    }
  }
  if (result == before && !paused) {
    return;
  }
  registers.rax = static_cast<std::uint64_t>(result);
  registers.orig_rax = task.entry.orig_rax;
  task.tracee.set_registers(registers);
  if (anew) {
    task.tracee.interrupt(); // on its way out of the kernel the call begins anew
  }
}

} // namespace rrpcp::replay
