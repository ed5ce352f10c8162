#include "replay/travel/diverted.h"

#include "replay/engine/injected_calls.h"
#include "replay/engine/task_waiter.h"
#include "replay/travel/replaced_code.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace rrpcp {

using replay::AdoptedTask;
using replay::at_user;
using replay::InjectedCalls;
using replay::interrupt_running;
using replay::TaskReport;
using replay::TaskState;

struct Diversion::Impl {
  replay::Traveller& traveller;
  replay::SupervisorState state;
  replay::CopiedTasks copied;
  std::map<BreakpointId, Breakpoint> breakpoints = {};
  std::map<pid_t, siginfo_t> signals = {};
  std::vector<pid_t> ended = {};
  replay::TaskWaiter waiter = {};

  ~Impl() { replay::kill_tasks(copied.tasks); }

  AdoptedTask& task(std::int32_t tid) {
    for (AdoptedTask& task : copied.tasks) {
      if (task.tid == tid && task.tracee.attached()) {
        return task;
      }
    }
    throw Error(ErrorCode::kInvalidArgument,
                "there is no task " + std::to_string(tid) + " in the diversion");
  }
  AdoptedTask& task_of(std::int32_t pid) {
    for (const TaskState& task : state.tasks) {
      if (task.pid == pid) {
        return this->task(task.tid);
      }
    }
    throw Error(ErrorCode::kInvalidArgument,
                "there is no process " + std::to_string(pid) + " in the diversion");
  }
  Stop stop_of(StopReason reason, pid_t tid) {
    Stop stop;
    stop.reason = reason;
    stop.tid = tid;
    stop.pid = state.find_task(tid)->pid;
    return stop;
  }

  std::vector<std::pair<std::uint64_t, std::byte>> insert(process::RemoteMemory& memory, pid_t pid,
                                                          std::uint64_t except);
  void remove(process::RemoteMemory& memory,
              const std::vector<std::pair<std::uint64_t, std::byte>>& before);
  std::optional<Stop> call(AdoptedTask& task, process::RemoteMemory& memory);
  bool carry_out(AdoptedTask& task, process::RemoteMemory& memory, const siginfo_t& info);
  std::optional<process::TraceeStop> wait(AdoptedTask& task, const std::atomic<bool>* interrupt);
};

Diversion::Diversion(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Diversion::Diversion(Diversion&&) noexcept = default;
Diversion& Diversion::operator=(Diversion&&) noexcept = default;
Diversion::~Diversion() = default;

std::vector<TimelineTask> Diversion::tasks() const {
  std::vector<TimelineTask> list;
  for (const AdoptedTask& task : impl_->copied.tasks) {
    if (task.tracee.attached()) {
      const TaskState* state = impl_->state.find_task(task.tid);
      list.push_back({state->tid, state->pid, state->ticks, state->in_call, {}});
    }
  }
  return list;
}

std::optional<std::vector<std::byte>> Diversion::registers(std::int32_t tid,
                                                           std::uint32_t note_type) const {
  return impl_->task(tid).tracee.register_set(note_type);
}

void Diversion::set_registers(std::int32_t tid, std::uint32_t note_type,
                              std::span<const std::byte> bytes) {
  impl_->task(tid).tracee.set_register_set(note_type, bytes);
}

std::size_t Diversion::read_memory(std::int32_t pid, std::uint64_t address,
                                   std::span<std::byte> out) const {
  return process::RemoteMemory(impl_->task_of(pid).pid).read_some(address, out);
}

void Diversion::write_memory(std::int32_t pid, std::uint64_t address,
                             std::span<const std::byte> bytes) {
  process::RemoteMemory(impl_->task_of(pid).pid).write(address, bytes);
}

std::array<std::byte, 128> Diversion::signal_info(std::int32_t tid) const {
  std::array<std::byte, 128> out{};
  if (const auto found = impl_->signals.find(tid); found != impl_->signals.end()) {
    std::memcpy(out.data(), &found->second, std::min(out.size(), sizeof found->second));
  }
  return out;
}

BreakpointId Diversion::add(Breakpoint breakpoint) {
  const BreakpointId id = impl_->traveller.next_breakpoint();
  impl_->breakpoints[id] = std::move(breakpoint);
  return id;
}

bool Diversion::remove(BreakpointId breakpoint) {
  return impl_->breakpoints.erase(breakpoint) != 0;
}

std::vector<std::pair<std::uint64_t, std::byte>>
Diversion::Impl::insert(process::RemoteMemory& memory, pid_t pid, std::uint64_t except) {
  constexpr std::byte kTrap{0xcc};
  std::vector<std::pair<std::uint64_t, std::byte>> before;
  for (const auto* list : {&breakpoints, &traveller.breakpoints()}) {
    for (const auto& [id, breakpoint] : *list) {
      const std::uint64_t address = breakpoint.address;
      std::byte byte{};
      if ((breakpoint.kind == Breakpoint::Kind::kSoftware ||
           breakpoint.kind == Breakpoint::Kind::kHardware) &&
          (breakpoint.pid == 0 || breakpoint.pid == pid) && address != except &&
          memory.read_some(address, std::span(&byte, 1)) == 1 &&
          std::none_of(before.begin(), before.end(),
                       [&](const auto& other) { return other.first == address; })) {
        before.emplace_back(address, byte);
        memory.write(address, std::span(&kTrap, 1));
      }
    }
  }
  return before;
}

void Diversion::Impl::remove(process::RemoteMemory& memory,
                             const std::vector<std::pair<std::uint64_t, std::byte>>& before) {
  for (const auto& [address, byte] : before) {
    memory.write(address, std::span(&byte, 1));
  }
}

std::optional<process::TraceeStop> Diversion::Impl::wait(AdoptedTask& task,
                                                         const std::atomic<bool>* interrupt) {
  for (;;) {
    if (const std::optional<TaskReport> report =
            waiter.wait_for(std::chrono::milliseconds(50), task.tracee.tid())) {
      return task.tracee.take_report(report->status);
    }
    if (interrupt != nullptr && interrupt->load(std::memory_order_relaxed)) {
      return interrupt_running(task.tracee);
    }
  }
}

// Answers a system call. A stop: the process ends by it.
std::optional<Stop> Diversion::Impl::call(AdoptedTask& task, process::RemoteMemory& memory) {
  const user_regs_struct entry = task.tracee.registers();
  const TaskState& known = *state.find_task(task.tid);
  std::int64_t result = -ENOSYS;
  switch (entry.orig_rax) {
  case SYS_write:
    if (entry.rdi == STDOUT_FILENO || entry.rdi == STDERR_FILENO) {
      constexpr std::uint64_t kMost = 1 << 20;
      std::vector<std::byte> bytes(std::min<std::uint64_t>(entry.rdx, kMost));
      bytes.resize(memory.read_some(entry.rsi, bytes));
      if (traveller.settings().output) {
        traveller.settings().output(static_cast<int>(entry.rdi), bytes, true);
      }
      result = bytes.empty() && entry.rdx != 0 ? -EFAULT : static_cast<std::int64_t>(bytes.size());
    }
    break;
  case SYS_getpid:
    result = known.pid;
    break;
  case SYS_gettid:
    result = known.tid;
    break;
  case SYS_futex:
  case SYS_rt_sigprocmask:
  case SYS_sched_yield:
    result = 0;
    break;
  case SYS_exit:
  case SYS_exit_group: {
    Stop stop = stop_of(StopReason::kExit, task.tid);
    stop.status = static_cast<int>(entry.rdi & 0xff) << 8;
    return stop;
  }
  case SYS_mmap:
    if ((entry.r10 & MAP_ANONYMOUS) == 0) {
      break;
    }
    [[fallthrough]];
  case SYS_brk:
  case SYS_munmap:
  case SYS_mprotect:
  case SYS_mremap:
  case SYS_madvise: {
    InjectedCalls calls(task.tracee, task.site);
    result = calls.call_with(static_cast<long>(entry.orig_rax),
                             {entry.rdi, entry.rsi, entry.rdx, entry.r10, entry.r8, entry.r9});
    break;
  }
  default:
    break;
  }
  user_regs_struct after = entry;
  after.rax = static_cast<std::uint64_t>(result);
  task.tracee.set_registers(at_user(after));
  return std::nullopt;
}

// Has the task execute an instruction that the recording has replaced: what it says here is nobody
// else's. False where that is not what the signal is of, or where it faults.
bool Diversion::Impl::carry_out(AdoptedTask& task, process::RemoteMemory& memory,
                                const siginfo_t& info) {
  if (info.si_signo != SIGILL) {
    return false;
  }
  const std::uint64_t address = task.tracee.registers().rip;
  const std::optional<replay::ReplacedBytes> original =
      replay::replaced_at(task.pid, memory, address);
  if (!original) {
    return false;
  }
  memory.write(address, *original);
  task.tracee.resume(PTRACE_SINGLESTEP);
  const process::TraceeStop stop = task.tracee.wait_stop();
  memory.write(address, replay::kUndefinedInstruction);
  return stop.signal() == SIGTRAP && task.tracee.registers().rip != address;
}

Stop Diversion::run(std::int32_t tid, bool step, const std::atomic<bool>* interrupt) {
  AdoptedTask& task = impl_->task(tid);
  const pid_t pid = impl_->state.find_task(tid)->pid;
  process::RemoteMemory memory(task.pid);
  process::Tracee& tracee = task.tracee;
  bool first = true;
  for (;;) {
    const std::uint64_t address = tracee.registers().rip;
    // Off the breakpoint where it stands.
    const bool off =
        first && !step &&
        std::any_of(impl_->breakpoints.begin(), impl_->breakpoints.end(),
                    [&](const auto& entry) { return entry.second.address == address; });
    first = false;
    const bool single = step || off;
    const auto before = impl_->insert(memory, pid, single ? address : 0);
    tracee.resume(single ? PTRACE_SYSEMU_SINGLESTEP : PTRACE_SYSEMU);
    const std::optional<process::TraceeStop> stop = impl_->wait(task, interrupt);
    if (stop && stop->gone()) {
      std::erase_if(impl_->copied.tasks,
                    [&](const AdoptedTask& other) { return other.tid == tid; });
      throw Error(ErrorCode::kProcessGone, "a diverted process is gone");
    }
    impl_->remove(memory, before);
    if (!stop) {
      return impl_->stop_of(StopReason::kInterrupted, tid);
    }
    if (stop->syscall_stop()) {
      if (std::optional<Stop> ended = impl_->call(task, memory)) {
        return *ended;
      }
      if (step) {
        return impl_->stop_of(StopReason::kStep, tid);
      }
      continue;
    }
    const int signal = stop->signal();
    if (signal == 0) {
      continue;
    }
    const siginfo_t info = tracee.signal_info();
    if (signal == SIGTRAP && info.si_code == SI_KERNEL) {
      user_regs_struct registers = tracee.registers();
      const auto hit = std::find_if(before.begin(), before.end(), [&](const auto& entry) {
        return entry.first == registers.rip - 1;
      });
      if (hit != before.end()) {
        --registers.rip;
        tracee.set_registers(at_user(registers));
        Stop found = impl_->stop_of(StopReason::kBreakpoint, tid);
        for (const auto* list : {&impl_->breakpoints, &impl_->traveller.breakpoints()}) {
          for (const auto& [id, breakpoint] : *list) {
            if (breakpoint.address == registers.rip && found.breakpoint == 0) {
              found.breakpoint = id;
            }
          }
        }
        return found;
      }
    }
    if (signal == SIGTRAP && single && info.si_code > 0 && info.si_code != SI_KERNEL) {
      if (step) {
        return impl_->stop_of(StopReason::kStep, tid);
      }
      continue;
    }
    if (info.si_code <= 0) {
      continue; // somebody's
    }
    if (impl_->carry_out(task, memory, info)) {
      if (step) {
        return impl_->stop_of(StopReason::kStep, tid);
      }
      continue;
    }
    impl_->signals[tid] = info;
    Stop found = impl_->stop_of(StopReason::kSignal, tid);
    found.signal = signal;
    return found;
  }
}

Diversion replay::make_diversion(Traveller& traveller) {
  return Diversion::make(traveller);
}

Diversion Diversion::make(replay::Traveller& traveller) {
  const std::unique_ptr<replay::SessionCopy> copy = traveller.copy_here();
  return Diversion(std::unique_ptr<Impl>(new Impl{traveller, copy->state(), copy->copy()}));
}

} // namespace rrpcp
