// Tasks that other recorded tasks trace: where they stop for their tracers, and how they go on.

#include "process/proc_status.h"
#include "replay/engine/fault_action.h"
#include "replay/engine/recorder.h"
#include "rrpcp/error.h"
#include "trace/call_table.h"
#include "trace/event.h"
#include "trace/system_call.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace rrpcp::replay {

namespace {

using State = RecordedTask::State;
using Mode = EmulatedTracee::Mode;
using Stop = EmulatedTracee::Stop;

// What the recorder sends in place of the kernel's SIGCHLD: only the kernel may send one with a
// code of its own. The lower half is code << 16 | status.
constexpr std::uint64_t kTold = 0x50434054;
constexpr int kTrapTrace = 2; // TRAP_TRACE
// PTRACE_GETEVENTMSG in stops of system calls (linux/ptrace.h).
constexpr std::uint64_t kEntryMessage = 1;
constexpr std::uint64_t kExitMessage = 2;

constexpr int event_code(int event) {
  return SIGTRAP | event << 8;
}

siginfo_t information(const RecordedTask& task, int signal, int code) {
  siginfo_t info{};
  info.si_signo = signal;
  info.si_code = code;
  info.si_pid = task.pid;
  info.si_uid = process::ProcStatus::read(task.pid, task.tid).uids[0];
  return info;
}

int call_code(const EmulatedTracee& traced) {
  return traced.wants(PTRACE_O_TRACESYSGOOD) ? SIGTRAP | 0x80 : SIGTRAP;
}

// The registers with which the kernel lets the task go on: it begins an interrupted call anew.
user_regs_struct restarted(user_regs_struct registers) {
  const auto result = static_cast<std::int64_t>(registers.rax);
  if (static_cast<std::int64_t>(registers.orig_rax) >= 0 && trace::is_restart(result)) {
    registers.rip -= trace::kSyscallLength;
    registers.rax = result == trace::kRestartBlock ? SYS_restart_syscall : registers.orig_rax;
  }
  return registers;
}

bool is_told(const siginfo_t& info) {
  return info.si_signo == SIGCHLD && info.si_code == SI_QUEUE &&
         reinterpret_cast<std::uint64_t>(info.si_value.sival_ptr) >> 32 == kTold;
}

siginfo_t as_the_kernel_tells(const siginfo_t& info) {
  const auto told = reinterpret_cast<std::uint64_t>(info.si_value.sival_ptr);
  siginfo_t result{};
  result.si_signo = SIGCHLD;
  result.si_code = static_cast<int>(told >> 16 & 0xffff);
  result.si_pid = info.si_pid;
  result.si_uid = info.si_uid;
  result.si_status = static_cast<int>(told & 0xffff);
  return result;
}

} // namespace

// The ptrace(2) request by which the task executes its program, up to the next system call or for
// one instruction. A call is not stepped over: the recorder has to see it.
int Recorder::way_to_run(RecordedTask& task) const {
  const int up_to_call = filtered_ && !task.has_filter ? PTRACE_CONT : PTRACE_SYSCALL;
  if (!task.traced || !task.traced->steps()) {
    return up_to_call;
  }
  const std::uint64_t address = restarted(task.tracee.registers()).rip;
  std::array<std::uint8_t, 2> code{};
  const bool known = task.memory.read_some(address, std::as_writable_bytes(std::span(code))) == 2;
  return known && code[0] == 0x0f && code[1] == 0x05 ? up_to_call : PTRACE_SINGLESTEP;
}

// The task stands where an event has brought it, or in a call that was begun: its tracer is told
// and has to let it go on.
void Recorder::stop_traced(RecordedTask& task, Stop stop, int code, std::uint64_t message) {
  record_called_off(task);
  EmulatedTracee& traced = *task.traced;
  traced.info = information(task, SIGTRAP, code);
  traced.stop = stop;
  traced.code = code;
  traced.message = message;
  traced.unseen = true;
  task.state = State::kTraced;
  tell_tracer(traced.tracer_process, task.tid, CLD_TRAPPED, code);
}

void Recorder::stop_at_signal(RecordedTask& task, const siginfo_t& info) {
  stop_traced(task, Stop::kSignal, info.si_signo, 0);
  task.traced->info = info;
}

// The stop of the task's whole process, which the kernel has reported.
void Recorder::trace_stopped_group(RecordedTask& task, int signal) {
  EmulatedTracee& traced = *task.traced;
  traced.attached = false;
  traced.interrupted = false;
  traced.listening = false;
  traced.stopped_by = signal;
  stop_traced(task, Stop::kGroup, traced.seized ? signal | PTRACE_EVENT_STOP << 8 : signal, 0);
  if (!traced.seized) {
    traced.info = {}; // PTRACE_GETSIGINFO fails: so tracers tell it from a signal
  }
}

// Whether anything is due that the tracer is to be told of before the task executes more. Looked at
// whenever the task may go on.
void Recorder::settle(RecordedTask& task) {
  EmulatedTracee& traced = *task.traced;
  if (task.state != State::kReady || task.at_entry || traced.stop != Stop::kNone) {
    return;
  }
  if (std::exchange(traced.vfork_done, false) && traced.wants(PTRACE_O_TRACEVFORKDONE)) {
    stop_traced(task, Stop::kEvent, event_code(PTRACE_EVENT_VFORK_DONE),
                static_cast<std::uint64_t>(traced.vfork_child));
    return;
  }
  if (std::exchange(traced.executed, false)) {
    traced.call_ended = true;
    if (traced.wants(PTRACE_O_TRACEEXEC)) {
      stop_traced(task, Stop::kEvent, event_code(PTRACE_EVENT_EXEC),
                  static_cast<std::uint64_t>(traced.former));
      return;
    }
    traced.exec_trap = !traced.seized;
  }
  if (std::exchange(traced.call_ended, false)) {
    if (traced.mode == Mode::kSystemCall) {
      stop_traced(task, Stop::kExit, call_code(traced), kExitMessage);
      return;
    }
    traced.stepped = traced.steps();
  }
  if (std::exchange(traced.stepped, false) && traced.steps()) {
    siginfo_t info{};
    info.si_signo = SIGTRAP;
    info.si_code = kTrapTrace;
    info.si_addr = reinterpret_cast<void*>(task.tracee.registers().rip);
    stop_at_signal(task, info);
    return;
  }
  if (std::exchange(traced.exec_trap, false)) {
    stop_at_signal(task, information(task, SIGTRAP, SI_USER));
    return;
  }
  if (std::exchange(traced.attached, false)) {
    siginfo_t info{};
    info.si_signo = SIGSTOP;
    info.si_code = SI_KERNEL;
    stop_at_signal(task, info);
    return;
  }
  if (std::exchange(traced.interrupted, false)) {
    const int signal = traced.stopped_by != 0 ? traced.stopped_by : SIGTRAP;
    stop_traced(task, Stop::kEvent, signal | PTRACE_EVENT_STOP << 8, 0);
  }
}

// Stops at the entry of the task's call where its tracer wants to see it.
bool Recorder::shows_entry(RecordedTask& task) {
  if (std::exchange(task.entry_shown, false) || !task.traced ||
      (task.traced->mode != Mode::kSystemCall && !task.traced->emulates())) {
    return false;
  }
  begin_call(task);
  task.at_entry = true;
  task.emulated_entry = task.traced->emulates();
  stop_traced(task, Stop::kEntry, call_code(*task.traced), kEntryMessage);
  return true;
}

// The same for PTRACE_EVENT_EXIT, where the task is about to end.
bool Recorder::shows_exit(RecordedTask& task) {
  if ((task.call.number != SYS_exit && task.call.number != SYS_exit_group) || !task.traced ||
      !task.traced->wants(PTRACE_O_TRACEEXIT) || task.traced->exit_told) {
    return false;
  }
  task.traced->exit_told = true;
  begin_call(task);
  task.at_entry = true;
  stop_traced(task, Stop::kEvent, event_code(PTRACE_EVENT_EXIT), (task.call[0] & 0xff) << 8);
  return true;
}

// The tracer lets the task go on from the entry of its call, with the registers that it has now.
void Recorder::leave_entry(RecordedTask& task) {
  task.at_entry = false;
  user_regs_struct registers = task.tracee.registers();
  if (std::exchange(task.emulated_entry, false) ||
      static_cast<std::int32_t>(registers.orig_rax) == -1) {
    registers.orig_rax = ~std::uint64_t{0};
    task.tracee.set_registers(registers);
    task.skipped = true;
    resume_call(task);
    return;
  }
  const bool ends = task.traced && task.traced->exit_told;
  registers.rax = task.entry.rax; // of no consequence
  if (ends || std::memcmp(&registers, &task.entry, sizeof registers) == 0) {
    if (ends) {
      task.tracee.set_registers(task.entry);
    }
    const pid_t tid = task.tid;
    enter_call(task);
    if (RecordedTask* after = scheduler_.find(tid); after != nullptr && after->traced) {
      settle(*after);
    }
    return;
  }
  enter_otherwise(task, registers);
}

// For a replay the call has failed, and the task stands before the instruction again, with the
// tracer's registers: the call that it makes then is like any other.
void Recorder::enter_otherwise(RecordedTask& task, const user_regs_struct& wanted) {
  if (wanted.rip != task.entry.rip) {
    throw Error(ErrorCode::kUnsupportedState,
                "a program moves the instruction pointer of a process that it traces, and that is "
                "at the entry of a system call; this cannot be recorded");
  }
  const std::optional<user_regs_struct> before = take_off_entry(task, wanted);
  if (!before) {
    return;
  }
  record_skipped(task, *before);
  task.entry_shown = true;
}

// The end of a call that the kernel was not given, after the tracer had its way with the registers.
void Recorder::record_skipped(RecordedTask& task, user_regs_struct registers) {
  trace::EventData& event = writer_->begin(trace::EventKind::kSystemCallFinished, task);
  event.result = -ENOSYS; // a replay does not carry it out
  registers.orig_rax = ~std::uint64_t{0};
  event.registers_after = registers;
  if (task.traced && std::exchange(task.traced->extended_changed, false)) {
    note_extended_registers(task);
  }
  if (task.traced && std::exchange(task.traced->mask_changed, false)) {
    note_mask(task);
  }
  tell_made_code(task);
  writer_->write();
  task.boundary = task.tracee.registers();
  end_call(task);
}

// The task was taken back from the entry of a call, where no event has brought it yet.
void Recorder::record_called_off(RecordedTask& task) {
  if (!task.called_off) {
    return;
  }
  trace::EventData& event = writer_->begin(trace::EventKind::kSystemCall, task);
  event.registers = task.called_off;
  event.result = -ENOSYS;
  event.registers_after = task.boundary;
  event.registers_after->orig_rax = ~std::uint64_t{0};
  tell_made_code(task);
  writer_->write();
  task.called_off.reset();
}

// A signal for a task whose tracer decides about it. Returns true where the task goes on in the
// middle of its program.
bool Recorder::on_traced_signal(RecordedTask& task, const user_regs_struct& registers,
                                const siginfo_t& raised) {
  siginfo_t info = raised;
  EmulatedTracee& traced = *task.traced;
  if (info.si_signo == SIGCONT) {
    note_continued(task.pid);
  }
  if (is_synchronous(info)) {
    const bool step = traced.steps() && info.si_signo == SIGTRAP && info.si_code == kTrapTrace;
    if (step && std::memcmp(&registers, &task.boundary, sizeof registers) == 0) {
      traced.stepped = true; // a new task on its way out of the kernel: nothing was executed
      task.state = State::kReady;
      return false;
    }
    trace::EventData& event = writer_->begin(trace::EventKind::kSignal, task);
    event.registers = registers;
    event.registers_after = registers;
    event.registers_after->orig_rax = ~std::uint64_t{0};
    event.cause = step ? schema::SignalCause::STEPPED : schema::SignalCause::REPORTED;
    event.signal_info = event.append(std::as_bytes(std::span(&info, 1)));
    tell_made_code(task);
    writer_->write();
    task.boundary = registers;
    task.state = State::kReady;
    if (step) {
      traced.stepped = true;
    } else {
      stop_at_signal(task, info);
    }
    return false;
  }
  if (!task.comes_at_boundary(registers, info)) {
    put_back_info(task, info);
    task.held.push_back(info);
    run_on(task);
    return true;
  }
  if (!task.held.empty() && task.held.front().si_signo == info.si_signo) {
    info = task.held.front();
    task.held.pop_front();
    task.tracee.set_signal_info(info);
  } else {
    put_back_info(task, info);
  }
  task.state = State::kReady;
  stop_at_signal(task, info);
  return false;
}

// A process that was stopped goes on as a whole.
void Recorder::note_continued(pid_t process) {
  for (const auto& [tid, task] : scheduler_.tasks()) {
    if (task->pid == process && task->traced) {
      task->traced->stopped_by = 0;
    }
  }
}

// A tracee of PTRACE_SEIZE is told of the end of a group stop that it was let go on from. True
// where that is what has stopped it, before it has executed anything.
bool Recorder::on_end_of_group_stop(RecordedTask& task) {
  if (!task.traced || !task.traced->seized || task.traced->stopped_by == 0 ||
      task.state != State::kRunning) {
    return false;
  }
  note_continued(task.pid);
  const user_regs_struct registers = task.tracee.registers();
  if (std::memcmp(&registers, &task.boundary, sizeof registers) != 0) {
    return false;
  }
  task.traced->interrupted = true;
  task.state = State::kReady;
  return true;
}

// The task is in the call that has made `child`.
void Recorder::on_traced_fork(RecordedTask& task, RecordedTask& child, int event) {
  const EmulatedTracee& traced = *task.traced;
  const std::uint64_t option = event == PTRACE_EVENT_FORK    ? PTRACE_O_TRACEFORK
                               : event == PTRACE_EVENT_VFORK ? PTRACE_O_TRACEVFORK
                               : event == PTRACE_EVENT_CLONE ? PTRACE_O_TRACECLONE
                                                             : 0;
  if (!traced.wants(option)) {
    return;
  }
  child.traced = std::make_unique<EmulatedTracee>();
  child.traced->tracer = traced.tracer;
  child.traced->tracer_process = traced.tracer_process;
  child.traced->seized = traced.seized;
  child.traced->options = traced.options;
  if (child.tracee.attached()) {
    (traced.seized ? child.traced->interrupted : child.traced->attached) = true;
    settle(child);
  }
  stop_traced(task, Stop::kEvent, event_code(event), static_cast<std::uint64_t>(child.tid));
}

// Has the signal that the tracer wants delivered be delivered. False where the task does not go on
// for now.
bool Recorder::pass_to_task(RecordedTask& task) {
  const siginfo_t info = *task.passing;
  if (task.tracee.last_stop().signal() == 0) {
    if (task.blocks(info.si_signo)) {
      task.passing.reset(); // the kernel keeps it
    }
    ::syscall(SYS_tgkill, task.pid, task.tid, info.si_signo);
    task.pending_there |= std::uint64_t{1} << (info.si_signo - 1);
    return true;
  }
  const pid_t tid = task.tid;
  task.passing.reset();
  task.tracee.set_signal_info(info);
  pass_on(task, info);
  RecordedTask* after = scheduler_.find(tid);
  if (after == nullptr) {
    return false;
  }
  if (after->traced) {
    settle(*after);
  }
  return after->state == State::kReady && after->resume_signal != 0;
}

// Lets a task go on by its tracer's will; what is due yet stops it at once again. (It runs in its
// turn.)
void Recorder::go_on(RecordedTask& tracee, Mode mode, int signal) {
  EmulatedTracee& traced = *tracee.traced;
  const Stop was = std::exchange(traced.stop, Stop::kNone);
  traced.mode = mode;
  traced.unseen = false;
  traced.message = 0;
  if (was == Stop::kNone) {
    return;
  }
  if (tracee.in_call && !tracee.at_entry) { // it has made a task
    tracee.state = State::kInCall;
    tracee.tracee.resume(PTRACE_SYSCALL);
    return;
  }
  tracee.state = State::kReady;
  if (signal != 0 && (was == Stop::kSignal || was == Stop::kEntry || was == Stop::kExit)) {
    if (was == Stop::kSignal && traced.info.si_signo == signal) {
      tracee.passing = traced.info;
    } else {
      siginfo_t info{};
      info.si_signo = signal;
      info.si_code = SI_USER;
      info.si_pid = traced.tracer_process;
      tracee.passing = info;
    }
  }
  settle(tracee);
}

// Ends the tracing.
void Recorder::let_go(RecordedTask& tracee, int signal) {
  const bool stopped_group = tracee.traced->stop == Stop::kGroup;
  tracee.traced->vfork_done = false;
  tracee.traced->executed = false;
  tracee.traced->call_ended = false;
  tracee.traced->stepped = false;
  tracee.traced->exec_trap = false;
  tracee.traced->attached = false;
  tracee.traced->interrupted = false;
  go_on(tracee, Mode::kContinue, signal);
  tracee.traced.reset();
  if (stopped_group && signal == 0 && tracee.tracee.last_stop().group_stop()) {
    tracee.tracee.resume(PTRACE_LISTEN);
    tracee.state = State::kStopped;
  }
}

// Wakes those threads of the process that wait for the tracee, and sends it the SIGCHLD that it
// would get, where it could notice that.
void Recorder::tell_tracer(pid_t process, pid_t tracee, int code, int status) {
  bool notices = false;
  pid_t member = 0;
  constexpr std::uint64_t kBit = std::uint64_t{1} << (SIGCHLD - 1);
  for (const auto& [tid, task] : scheduler_.tasks()) {
    if (task->pid != process || !task->tracee.attached()) {
      continue;
    }
    member = tid;
    const std::optional<process::ProcStatus> known = process::ProcStatus::try_read(process, tid);
    notices |= known && (((known->caught | known->blocked) & kBit) != 0 || task->traced);
    if (task->in_call && task->state == State::kInCall &&
        trace::call_row(task->call).care == trace::Care::kWaiting) {
      try {
        task->tracee.interrupt();
      } catch (const Error&) {
        // It was killed: that is reported.
      }
    }
  }
  if (member == 0 || !notices) {
    return;
  }
  siginfo_t info{};
  info.si_signo = SIGCHLD;
  info.si_code = SI_QUEUE;
  info.si_pid = tracee;
  const auto value = kTold << 32 | static_cast<std::uint64_t>(code & 0xffff) << 16 |
                     static_cast<std::uint64_t>(status & 0xffff);
  info.si_value.sival_ptr = reinterpret_cast<void*>(value);
  ::syscall(SYS_rt_sigqueueinfo, process, SIGCHLD, &info);
}

void Recorder::put_back_told(RecordedTask& task, siginfo_t& info) {
  if (is_told(info)) {
    info = as_the_kernel_tells(info);
    task.tracee.set_signal_info(info);
  }
}

// The same where the program has taken the signal by a call.
void Recorder::put_back_told_in_call(RecordedTask& task, std::int64_t result) {
  if (task.call.number != SYS_rt_sigtimedwait || result != SIGCHLD || task.call[1] == 0) {
    return;
  }
  auto info = task.memory.read_value<siginfo_t>(task.call[1]);
  if (is_told(info)) {
    info = as_the_kernel_tells(info);
    task.memory.write(task.call[1], std::as_bytes(std::span(&info, 1)));
  }
}

// The end of a task. The kernel tells its parent; a tracer that is somebody else is told here.
void Recorder::on_tracee_gone(const RecordedTask& task, int status) {
  if (!task.traced ||
      (task.tid == task.pid && task.parent_process == task.traced->tracer_process)) {
    return;
  }
  const EmulatedTracee& traced = *task.traced;
  ended_tracees_.push_back(
      {task.tid, ::getpgid(task.pid), traced.tracer, traced.tracer_process, status});
  tell_tracer(traced.tracer_process, task.tid, WIFSIGNALED(status) ? CLD_KILLED : CLD_EXITED,
              WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

// The end of a tracer: nobody traces its tracees any more.
void Recorder::release_tracees(pid_t tracer) {
  std::erase_if(ended_tracees_, [&](const EndedTracee& ended) { return ended.tracer == tracer; });
  for (const auto& [tid, task] : scheduler_.tasks()) {
    if (!task->traced || task->traced->tracer != tracer || !task->tracee.attached()) {
      continue;
    }
    const EmulatedTracee& traced = *task->traced;
    if (traced.wants(PTRACE_O_EXITKILL)) {
      note_futexes_of_process(task->pid);
      ::kill(task->pid, SIGKILL);
      task->traced.reset();
      continue;
    }
    try {
      // A stop that was not waited for goes on with its signal (kernel/signal.c, ptrace_stop()).
      let_go(*task, traced.unseen && traced.stop == Stop::kSignal ? traced.info.si_signo : 0);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kProcessGone) {
        throw;
      }
      task->traced.reset(); // killed meanwhile: that is reported
    }
  }
}

// The tracer's call has ended, and its event is written: what it has changed of the tracee where
// that stands is an event of the tracee.
void Recorder::record_request(RecordedTask& task) {
  const pid_t changed = std::exchange(task.effects.changed, 0);
  RecordedTask* tracee = changed != 0 ? scheduler_.find(changed) : nullptr;
  if (tracee == nullptr || !tracee->tracee.attached()) {
    return;
  }
  const user_regs_struct registers = tracee->tracee.registers();
  trace::EventData& event = writer_->begin(trace::EventKind::kPreemption, *tracee);
  tracee->preempted = false; // it was not executing
  event.registers_after = restarted(registers);
  event.registers_after->orig_rax = ~std::uint64_t{0};
  if (task.effects.extended) {
    note_extended_registers(*tracee);
  }
  if (task.effects.mask) {
    note_mask(*tracee);
  }
  writer_->write();
  tracee->boundary = registers;
}

} // namespace rrpcp::replay
