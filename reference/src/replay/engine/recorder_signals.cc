// Signals, faults and preemption.

#include "process/proc_maps.h"
#include "process/proc_status.h"
#include "replay/engine/changed_pages.h"
#include "replay/engine/fault_action.h"
#include "replay/engine/injected_calls.h"
#include "replay/engine/recorder.h"
#include "replay/engine/suspended_filters.h"
#include "rrpcp/error.h"
#include "trace/event.h"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <elf.h>
#include <optional>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace rrpcp::replay {

namespace {

using State = RecordedTask::State;

// Bytes of a preempted task's memory that are held at once.
constexpr std::uint64_t kMaxPreemptedRange = 1 << 20;
constexpr std::uint64_t kResetHandler = 0x80000000; // SA_RESETHAND

// Frame of a signal handler (arch/x86/include/asm/sigframe.h): where the pointer to the FPU state
// is in it, and how large that is.
constexpr std::uint64_t kFramePointerOffset = 8 + 40 + 184;
constexpr std::uint64_t kFrameWithoutFpu = 8 + 304 + 128;
constexpr std::uint64_t kFpuMagicOffset = 464;
constexpr std::uint32_t kFpuMagic = 0x46505853;
constexpr std::uint64_t kFpuLegacySize = 512;
constexpr std::uint64_t kFpuTrailer = 4;

// Whether the default action of the signal ends the process.
bool ends_by_default(int signal) {
  switch (signal) {
  case SIGCHLD:
  case SIGCONT:
  case SIGURG:
  case SIGWINCH:
  case SIGSTOP:
  case SIGTSTP:
  case SIGTTIN:
  case SIGTTOU:
    return false;
  default:
    return true;
  }
}

} // namespace

// Returns true where the task goes on in the middle of its program.
bool Recorder::on_signal(RecordedTask& task, int signal) {
  const user_regs_struct registers = task.tracee.registers();
  siginfo_t info = task.tracee.signal_info();
  if (is_synchronous(info)) {
    if (led_back(task)) {
      run_on(task);
      return true;
    }
    if (on_made_code(task, registers, info)) {
      if (!task.tracee.attached()) {
        scheduler_.report_again(task);
        return false;
      }
      run_on(task);
      return true;
    }
    if (emulate(task, registers, info)) {
      if (task.traced && task.traced->steps()) {
        task.traced->stepped = true;
      }
      return false;
    }
    signal = info.si_signo;
  }
  put_back_told(task, info);
  const bool boundary = task.comes_at_boundary(registers, info);
  if (boundary && task.passing && task.passing->si_signo == signal) {
    info = *std::exchange(task.passing, std::nullopt);
    task.tracee.set_signal_info(info);
    pass_on(task, info);
    return false;
  }
  if (task.traced) {
    return on_traced_signal(task, registers, info);
  }
  const bool raised = boundary && !task.held.empty() && task.held.front().si_signo == signal;
  if (!raised) {
    put_back_info(task, info);
  }
  const bool synchronous = is_synchronous(info);
  if (synchronous && signal == SIGTRAP) {
    keep_code_as_built(task); // it may step itself
  }
  const process::ProcStatus status = process::ProcStatus::read(task.pid, task.tid);
  const bool caught = (status.caught >> (signal - 1) & 1) != 0;
  if (!caught) {
    if (synchronous) {
      task.fatal_fault = registers;
    }
    note_futexes_of_process(task.pid); // it may be about to end
    if (synchronous && !status.same_namespace && status.process_in_namespace == 1) {
      leave_dying(task, signal);
      return false;
    }
    task.resume_signal = signal;
    if (boundary) {
      task.state = State::kReady;
      return false;
    }
    run_on(task, std::exchange(task.resume_signal, 0));
    return true;
  }
  if (synchronous) {
    deliver(task, info, schema::SignalCause::FAULT, registers);
    return false;
  }
  if (boundary) {
    if (raised) {
      info = task.held.front();
      task.held.pop_front();
      task.tracee.set_signal_info(info);
    }
    deliver(task, info, schema::SignalCause::ASYNCHRONOUS,
            std::exchange(task.called_off, std::nullopt));
    return false;
  }
  task.held.push_back(info);
  if (task.buffer->executes(registers.rip) && leave_buffer(task, false)) {
    // The call may have raised it: the handler runs before the program goes on.
    task.boundary = task.tracee.registers();
    task.state = State::kReady;
    return false;
  }
  run_on(task);
  return true;
}

// Delivers the signal of a signal-delivery stop in which the task stands where an event has brought
// it: its tracer has seen it.
void Recorder::pass_on(RecordedTask& task, const siginfo_t& info) {
  const process::ProcStatus status = process::ProcStatus::read(task.pid, task.tid);
  const std::uint64_t bit = std::uint64_t{1} << (info.si_signo - 1);
  if ((status.caught & bit) != 0) {
    deliver(task, info, schema::SignalCause::ASYNCHRONOUS, std::nullopt);
    if (task.traced && task.traced->steps()) {
      task.traced->stepped = true; // the step ends at the handler's first instruction
    }
    return;
  }
  if (task.traced && task.traced->wants(PTRACE_O_TRACEEXIT) && !task.traced->exit_told &&
      (status.ignored & bit) == 0 && ends_by_default(info.si_signo)) {
    task.traced->exit_told = true;
    task.passing = info;
    stop_traced(task, EmulatedTracee::Stop::kEvent, SIGTRAP | PTRACE_EVENT_EXIT << 8,
                static_cast<std::uint64_t>(info.si_signo));
    return;
  }
  note_futexes_of_process(task.pid);
  task.resume_signal = info.si_signo;
  task.state = State::kReady;
}

// Lets the task enter its handler.
void Recorder::deliver(RecordedTask& task, const siginfo_t& info, schema::SignalCause cause,
                       const std::optional<user_regs_struct>& reached) {
  task.tracee.resume(PTRACE_SINGLESTEP, info.si_signo);
  const process::TraceeStop stop = task.tracee.wait();
  if (stop.gone()) {
    task.fatal_fault = reached;
    on_gone(task, stop);
    return;
  }
  if (stop.signal() != SIGTRAP) {
    // The frame could not be written, or something else comes first.
    task.fatal_fault = reached;
    task.state = State::kReady;
    scheduler_.report_first(task);
    return;
  }
  task.fatal_fault.reset(); // it may be the handler of a fault in delivering another one's signal
  const user_regs_struct registers = task.tracee.registers();
  trace::EventData& event = writer_->begin(trace::EventKind::kSignal, task);
  event.registers = reached;
  event.registers_after = registers;
  event.registers_after->orig_rax = ~std::uint64_t{0};
  event.cause = cause;
  event.signal_info = event.append(std::as_bytes(std::span(&info, 1)));
  note_mask(task);
  if (FaultAction* action = task.fault_actions->of(info.si_signo);
      action != nullptr && ((*action)[1] & kResetHandler) != 0) {
    (*action)[0] = 0; // SIG_DFL
  }
  note_extended_registers(task);
  std::uint64_t end = registers.rsp + kFrameWithoutFpu;
  const auto fpu = task.memory.read_value<std::uint64_t>(registers.rsp + kFramePointerOffset);
  if (fpu != 0) {
    std::array<std::uint32_t, 2> magic{};
    task.memory.read(fpu + kFpuMagicOffset, std::as_writable_bytes(std::span(magic)));
    end = fpu + (magic[0] == kFpuMagic ? magic[1] + kFpuTrailer : kFpuLegacySize);
  }
  writer_->add_memory(task.memory, registers.rsp, end - registers.rsp, event.memory);
  tell_made_code(task);
  writer_->write();
  task.boundary = registers;
  task.state = State::kReady;
}

// Takes the task back from the entry of a system call, of which the kernel learns nothing, to
// before its instruction. `registers`: those at the entry. Returns those that it has now; nothing
// where it has ended.
std::optional<user_regs_struct> Recorder::take_off_entry(RecordedTask& task,
                                                         user_regs_struct registers) {
  const std::uint64_t number = registers.orig_rax;
  registers.orig_rax = ~std::uint64_t{0};
  task.tracee.set_registers(registers);
  task.tracee.resume(PTRACE_SYSCALL);
  const process::TraceeStop stop = task.tracee.wait();
  if (stop.gone()) {
    on_gone(task, stop);
    return std::nullopt;
  }
  registers.rip -= trace::kSyscallLength;
  registers.rax = number;
  task.tracee.set_registers(registers);
  return registers;
}

// Does so in order to deliver a signal there.
void Recorder::call_off(RecordedTask& task) {
  if (!take_off_entry(task, task.entry)) {
    return;
  }
  task.boundary = task.tracee.registers();
  task.called_off = task.entry;
  task.state = State::kReady;
}

// Before the task is let run from its latest event.
void Recorder::note_pending(RecordedTask& task) {
  task.went_on = false;
  for (const auto queue : {process::SignalQueue::kThread, process::SignalQueue::kProcess}) {
    for (const siginfo_t& info : task.tracee.queued_signals(queue)) {
      task.pending_there |= std::uint64_t{1} << (info.si_signo - 1);
    }
  }
}

// Sends the first held signal that is due again: the task meets it before it executes anything.
void Recorder::raise_held(RecordedTask& task) {
  const auto due = std::find_if(task.held.begin(), task.held.end(),
                                [&](const siginfo_t& info) { return !task.blocks(info.si_signo); });
  if (due == task.held.end()) {
    return;
  }
  std::rotate(task.held.begin(), due, due + 1);
  task.pending_there |= std::uint64_t{1} << (task.held.front().si_signo - 1);
  ::syscall(SYS_tgkill, task.pid, task.tid, task.held.front().si_signo);
}

// The kernel keeps what the handler that the task is in blocks, before a call that may look at it.
void Recorder::pend_blocked(RecordedTask& task) {
  std::erase_if(task.held, [&](const siginfo_t& info) {
    const bool blocked = task.blocks(info.si_signo);
    if (blocked) {
      task.pending.push_back(info);
      ::syscall(SYS_tgkill, task.pid, task.tid, info.si_signo);
    }
    return blocked;
  });
}

// What the signal was sent with at first.
void Recorder::put_back_info(RecordedTask& task, siginfo_t& info) {
  const auto first =
      std::find_if(task.pending.begin(), task.pending.end(),
                   [&](const siginfo_t& other) { return other.si_signo == info.si_signo; });
  if (first == task.pending.end()) {
    return;
  }
  if (info.si_code == SI_TKILL && info.si_pid == ::getpid()) {
    info = *first;
    task.tracee.set_signal_info(info);
  }
  task.pending.erase(first);
}

void Recorder::note_extended_registers(RecordedTask& task) {
  std::optional<std::vector<std::byte>> area = task.tracee.register_set(NT_X86_XSTATE);
  if (!area) {
    return;
  }
  if (!offers_protection_keys(start_.getRoot<schema::TraceStart>().getCpu().asReader())) {
    drop_protection_keys(*area);
  }
  trace::EventData& event = writer_->event();
  event.extended_registers = event.append(*area);
}

// The pages are as much as the program has in use: they go to the trace without being gathered.
void Recorder::preempt(RecordedTask& task) {
  const user_regs_struct registers = task.tracee.registers();
  trace::EventData& event = writer_->begin(trace::EventKind::kPreemption, task);
  event.registers_after = registers;
  event.registers_after->orig_rax = ~std::uint64_t{0};
  note_extended_registers(task);
  std::vector<trace::EventData::Write>& list = event.memory;
  auto note = [&](std::uint64_t address, std::span<const std::byte> bytes) {
    if (!list.empty() && list.back().address + list.back().data.length == address &&
        list.back().data.length < kMaxPreemptedRange) {
      list.back().data.length += bytes.size();
    } else {
      list.push_back({address, {0, bytes.size()}});
    }
  };
  if (task.slice) {
    task.slice->visit_changes(task.tid, task.memory, note);
  } else {
    visit_writable_pages(task.tid, task.memory, note, {}, task.made_code.get());
  }
  writer_->write_from(task.memory);
  task.boundary = registers;
  task.called_off.reset();
  scheduler_.yield();
}

} // namespace rrpcp::replay
