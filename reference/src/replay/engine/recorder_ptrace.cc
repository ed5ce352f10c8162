// ptrace(2) of recorded tasks on each other: what a tracer asks for.

#include "base/scoped_fd.h"
#include "process/proc_status.h"
#include "replay/engine/recorder.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <elf.h>
#include <linux/audit.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

namespace rrpcp::replay {

namespace {

using State = RecordedTask::State;
using Mode = EmulatedTracee::Mode;
using Stop = EmulatedTracee::Stop;

// asm/ptrace-abi.h and linux/ptrace.h
constexpr long kArchPrctl = 30;
constexpr long kSystemCallEmulation = 31;
constexpr long kEmulationStep = 32;
constexpr std::uint64_t kKnownOptions = 0xff | PTRACE_O_EXITKILL | PTRACE_O_SUSPEND_SECCOMP;
constexpr std::uint64_t kRefusedOptions = PTRACE_O_TRACESECCOMP | PTRACE_O_SUSPEND_SECCOMP;
constexpr std::uint64_t kHighestSignal = 64;

// The kernel's answer to the recorder's own request: the result, or a negative errno.
long ask(long request, process::Tracee& tracee, std::uint64_t address, const void* data) {
  const long result = ::syscall(SYS_ptrace, request, tracee.tid(), address, data);
  const long answer = result < 0 ? -errno : result;
  tracee.forget_registers();
  return answer;
}

template <typename T> std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

} // namespace

struct Recorder::RequestRow {
  long number;
  Request carry_out;
  bool needs_stop = true; // else ESRCH
};

// (PTRACE_TRACEME, PTRACE_ATTACH and PTRACE_SEIZE have no tracee yet: prepare_ptrace().)
const Recorder::RequestRow Recorder::kRequests[] = {
    {PTRACE_PEEKTEXT, &Recorder::peek_request},
    {PTRACE_PEEKDATA, &Recorder::peek_request},
    {PTRACE_PEEKUSER, &Recorder::peek_user_request},
    {PTRACE_POKETEXT, &Recorder::poke_request},
    {PTRACE_POKEDATA, &Recorder::poke_request},
    {PTRACE_POKEUSER, &Recorder::poke_user_request},
    {PTRACE_CONT, &Recorder::resume_request},
    {PTRACE_SYSCALL, &Recorder::resume_request},
    {PTRACE_SINGLESTEP, &Recorder::resume_request},
    {kSystemCallEmulation, &Recorder::resume_request},
    {kEmulationStep, &Recorder::resume_request},
    {PTRACE_DETACH, &Recorder::detach_request},
    {PTRACE_KILL, &Recorder::kill_request, false},
    {PTRACE_INTERRUPT, &Recorder::interrupt_request, false},
    {PTRACE_LISTEN, &Recorder::listen_request},
    {PTRACE_GETREGS, &Recorder::get_registers_request},
    {PTRACE_SETREGS, &Recorder::set_registers_request},
    {PTRACE_GETFPREGS, &Recorder::get_registers_request},
    {PTRACE_SETFPREGS, &Recorder::set_registers_request},
    {PTRACE_GETREGSET, &Recorder::register_set_request},
    {PTRACE_SETREGSET, &Recorder::register_set_request},
    {PTRACE_SETOPTIONS, &Recorder::options_request},
    {PTRACE_GETEVENTMSG, &Recorder::message_request},
    {PTRACE_GETSIGINFO, &Recorder::signal_info_request},
    {PTRACE_SETSIGINFO, &Recorder::set_signal_info_request},
    {PTRACE_PEEKSIGINFO, &Recorder::queued_signals_request},
    {PTRACE_GETSIGMASK, &Recorder::get_mask_request},
    {PTRACE_SETSIGMASK, &Recorder::set_mask_request},
    {PTRACE_GET_SYSCALL_INFO, &Recorder::call_info_request},
    {PTRACE_GET_RSEQ_CONFIGURATION, &Recorder::rseq_request},
    {kArchPrctl, &Recorder::base_request},
};

// The kernel does not carry out the call: the recorder does, and answers it.
void Recorder::prepare_ptrace(RecordedTask& task) {
  const auto request = static_cast<long>(task.call[0]);
  std::int64_t result = -ESRCH;
  try {
    if (request == PTRACE_TRACEME) {
      result = be_traced(task);
    } else if (request == PTRACE_ATTACH || request == PTRACE_SEIZE) {
      result = attach_to(task);
    } else if (RecordedTask* tracee = scheduler_.find(static_cast<pid_t>(task.call[1]));
               tracee != nullptr && tracee->traced && tracee->traced->tracer == task.tid &&
               tracee->tracee.attached() && tracee->state != State::kDying) {
      const auto row = std::find_if(std::begin(kRequests), std::end(kRequests),
                                    [&](const RequestRow& each) { return each.number == request; });
      if (row == std::end(kRequests)) {
        notice_once("ptrace request " + std::to_string(request) +
                    " is not supported; it is refused");
        result = -EIO;
      } else if (!row->needs_stop || tracee->traced->stop != Stop::kNone) {
        result = (this->*row->carry_out)(task, *tracee);
      }
    }
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kProcessGone) {
      throw;
    }
    result = -ESRCH; // the tracee was killed: that is reported
  }
  answer(task, result, "");
}

// PTRACE_TRACEME
std::int64_t Recorder::be_traced(RecordedTask& task) {
  if (task.traced) {
    return -EPERM;
  }
  const RecordedTask* parent = scheduler_.find(task.parent);
  if (parent == nullptr) {
    notice_once(
        "ptrace (PTRACE_TRACEME) of a process whose parent is not recorded is not supported; it is "
        "refused");
    return -EPERM;
  }
  keep_code_as_built(task);
  task.traced = std::make_unique<EmulatedTracee>();
  task.traced->tracer = parent->tid;
  task.traced->tracer_process = parent->pid;
  return 0;
}

// PTRACE_ATTACH, PTRACE_SEIZE
std::int64_t Recorder::attach_to(RecordedTask& tracer) {
  const bool seize = tracer.call[0] == PTRACE_SEIZE;
  const auto tid = static_cast<pid_t>(tracer.call[1]);
  const std::uint64_t options = seize ? tracer.call[3] : 0;
  if (seize && (tracer.call[2] != 0 || (options & ~kKnownOptions) != 0)) {
    return -EIO;
  }
  RecordedTask* found = scheduler_.find(tid);
  if (found == nullptr) {
    if (::syscall(SYS_tkill, tid, 0) != 0 && errno == ESRCH) {
      return -ESRCH;
    }
    notice_once("ptrace of a process that is not recorded is not supported; it is refused");
    return -EPERM;
  }
  RecordedTask& tracee = *found;
  if (tracee.pid == tracer.pid || tracee.traced || tracee.state == State::kDying ||
      !tracee.tracee.attached()) {
    return -EPERM;
  }
  if ((options & kRefusedOptions) != 0) {
    notice_once("PTRACE_O_TRACESECCOMP and PTRACE_O_SUSPEND_SECCOMP are not supported; they are "
                "refused");
    return -EINVAL;
  }
  const process::ProcStatus own = process::ProcStatus::read(tracer.pid, tracer.tid);
  const process::ProcStatus other = process::ProcStatus::read(tracee.pid, tracee.tid);
  constexpr std::uint64_t kTrace = std::uint64_t{1} << 19; // CAP_SYS_PTRACE
  if ((own.effective & kTrace) == 0 &&
      std::any_of(other.uids.begin(), other.uids.begin() + 3,
                  [&](std::uint32_t uid) { return uid != own.uids[3]; })) {
    return -EPERM;
  }
  keep_code_as_built(tracee);
  tracee.traced = std::make_unique<EmulatedTracee>();
  tracee.traced->tracer = tracer.tid;
  tracee.traced->tracer_process = tracer.pid;
  tracee.traced->seized = seize;
  tracee.traced->options = options;
  tracee.traced->attached = !seize;
  if (tracee.state == State::kStopped || (tracee.state == State::kInCall && !seize)) {
    tracee.tracee.interrupt();
  } else {
    settle(tracee);
  }
  return 0;
}

// Writes what a request gives into the tracer's memory, and notes it for the event of its call.
std::int64_t Recorder::give(RecordedTask& tracer, std::uint64_t address,
                            std::span<const std::byte> bytes) {
  if (bytes.empty()) {
    return 0;
  }
  try {
    tracer.memory.write(address, bytes);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kProcessGone) {
      throw;
    }
    return -EFAULT;
  }
  tracer.effects.memory.push_back({0, address, bytes.size()});
  return 0;
}

// Reads what the tracer gives; false: EFAULT.
bool Recorder::take(RecordedTask& tracer, std::uint64_t address, std::span<std::byte> bytes) {
  return tracer.memory.read_some(address, bytes) == bytes.size();
}

// The general registers as the kernel would show them: a call that the recorder has answered has
// the number that it had.
user_regs_struct Recorder::shown_registers(RecordedTask& tracee) {
  user_regs_struct registers = tracee.tracee.registers();
  if (tracee.traced->stop == Stop::kExit && tracee.forced_result) {
    registers.orig_rax = tracee.entry.orig_rax;
  } else if (tracee.traced->exec_call != -1) {
    registers.orig_rax = static_cast<std::uint64_t>(tracee.traced->exec_call);
  }
  return registers;
}

void Recorder::note_changed(RecordedTask& tracer, RecordedTask& tracee, bool extended) {
  if (tracee.in_call) { // the end of the call tells
    tracee.traced->extended_changed |= extended;
    return;
  }
  tracer.effects.changed = tracee.tid;
  tracer.effects.extended |= extended;
}

// PTRACE_CONT and the like
std::int64_t Recorder::resume_request(RecordedTask& tracer, RecordedTask& tracee) {
  if (tracer.call[3] > kHighestSignal) {
    return -EIO;
  }
  Mode mode = Mode::kContinue;
  switch (static_cast<long>(tracer.call[0])) {
  case PTRACE_SYSCALL:
    mode = Mode::kSystemCall;
    break;
  case PTRACE_SINGLESTEP:
    mode = Mode::kStep;
    break;
  case kSystemCallEmulation:
    mode = Mode::kEmulation;
    break;
  case kEmulationStep:
    mode = Mode::kEmulationStep;
    break;
  default:
    break;
  }
  go_on(tracee, mode, static_cast<int>(tracer.call[3]));
  return 0;
}

std::int64_t Recorder::detach_request(RecordedTask& tracer, RecordedTask& tracee) {
  if (tracer.call[3] > kHighestSignal) {
    return -EIO;
  }
  let_go(tracee, static_cast<int>(tracer.call[3]));
  return 0;
}

std::int64_t Recorder::kill_request(RecordedTask&, RecordedTask& tracee) {
  note_futexes_of_process(tracee.pid);
  ::syscall(SYS_tgkill, tracee.pid, tracee.tid, SIGKILL);
  return 0;
}

std::int64_t Recorder::interrupt_request(RecordedTask&, RecordedTask& tracee) {
  if (!tracee.traced->seized) {
    return -EIO;
  }
  tracee.traced->interrupted = true;
  if (tracee.state == State::kInCall || tracee.state == State::kStopped) {
    tracee.tracee.interrupt();
  } else {
    settle(tracee);
  }
  return 0;
}

std::int64_t Recorder::listen_request(RecordedTask&, RecordedTask& tracee) {
  EmulatedTracee& traced = *tracee.traced;
  if (!traced.seized || traced.stop != Stop::kGroup || !tracee.tracee.last_stop().group_stop()) {
    return -EIO;
  }
  traced.stop = Stop::kNone;
  traced.unseen = false;
  traced.listening = true;
  tracee.tracee.resume(PTRACE_LISTEN);
  tracee.state = State::kStopped;
  return 0;
}

std::int64_t Recorder::peek_request(RecordedTask& tracer, RecordedTask& tracee) {
  std::uint64_t word = 0;
  const long result = ask(PTRACE_PEEKDATA, tracee.tracee, tracer.call[2], &word);
  return result < 0 ? result : give(tracer, tracer.call[3], bytes_of(word));
}

std::int64_t Recorder::poke_request(RecordedTask& tracer, RecordedTask& tracee) {
  const long result = ask(PTRACE_POKEDATA, tracee.tracee, tracer.call[2],
                          reinterpret_cast<const void*>(tracer.call[3]));
  if (result == 0) {
    tracer.effects.memory.push_back({tracee.tid, tracer.call[2], sizeof(std::uint64_t)});
  }
  return result;
}

std::int64_t Recorder::peek_user_request(RecordedTask& tracer, RecordedTask& tracee) {
  const std::uint64_t offset = tracer.call[2];
  std::uint64_t word = 0;
  const long result = ask(PTRACE_PEEKUSER, tracee.tracee, offset, &word);
  if (result < 0) {
    return result;
  }
  if (offset < sizeof(user_regs_struct)) {
    const user_regs_struct registers = shown_registers(tracee);
    std::memcpy(&word, reinterpret_cast<const std::byte*>(&registers) + offset, sizeof word);
  }
  return give(tracer, tracer.call[3], bytes_of(word));
}

std::int64_t Recorder::poke_user_request(RecordedTask& tracer, RecordedTask& tracee) {
  const std::uint64_t offset = tracer.call[2];
  constexpr std::uint64_t kDebug = offsetof(struct user, u_debugreg);
  if (offset >= sizeof(user_regs_struct) && tracer.call[3] != 0 && offset >= kDebug) {
    notice_once("breakpoints and watchpoints of the processor that a program sets in another one "
                "are not supported; they are refused");
    return -EINVAL;
  }
  const long result =
      ask(PTRACE_POKEUSER, tracee.tracee, offset, reinterpret_cast<const void*>(tracer.call[3]));
  if (result == 0 && offset < sizeof(user_regs_struct)) {
    note_changed(tracer, tracee, false);
  }
  return result;
}

// PTRACE_GETREGS, PTRACE_GETFPREGS
std::int64_t Recorder::get_registers_request(RecordedTask& tracer, RecordedTask& tracee) {
  if (tracer.call[0] == PTRACE_GETREGS) {
    return give(tracer, tracer.call[3], bytes_of(shown_registers(tracee)));
  }
  user_fpregs_struct registers{};
  const long result = ask(PTRACE_GETFPREGS, tracee.tracee, 0, &registers);
  return result < 0 ? result : give(tracer, tracer.call[3], bytes_of(registers));
}

std::int64_t Recorder::set_registers_request(RecordedTask& tracer, RecordedTask& tracee) {
  std::array<std::byte, sizeof(user_fpregs_struct)> bytes{};
  static_assert(sizeof(user_regs_struct) <= sizeof bytes);
  const bool general = tracer.call[0] == PTRACE_SETREGS;
  if (!take(tracer, tracer.call[3],
            std::span(bytes).first(general ? sizeof(user_regs_struct) : bytes.size()))) {
    return -EFAULT;
  }
  const long result = ask(static_cast<long>(tracer.call[0]), tracee.tracee, 0, bytes.data());
  note_changed(tracer, tracee, !general); // also one that failed halfway
  return result;
}

// PTRACE_GETREGSET, PTRACE_SETREGSET
std::int64_t Recorder::register_set_request(RecordedTask& tracer, RecordedTask& tracee) {
  const bool set = tracer.call[0] == PTRACE_SETREGSET;
  const std::uint64_t type = tracer.call[2];
  iovec area{};
  if (!take(tracer, tracer.call[3], std::as_writable_bytes(std::span(&area, 1)))) {
    return -EFAULT;
  }
  constexpr std::size_t kMost = 64 << 10; // far more than any set has
  std::vector<std::byte> bytes(std::min(area.iov_len, kMost));
  const auto address = reinterpret_cast<std::uint64_t>(area.iov_base);
  if (set && !take(tracer, address, bytes)) {
    return -EFAULT;
  }
  if (set && type != NT_PRSTATUS && type != NT_PRFPREG && type != NT_X86_XSTATE) {
    notice_once("setting registers of type " + std::to_string(type) +
                " in another process is not supported; it is refused");
    return -EINVAL;
  }
  iovec own{bytes.data(), bytes.size()};
  const long result = ask(static_cast<long>(tracer.call[0]), tracee.tracee, type, &own);
  if (set) {
    note_changed(tracer, tracee, type != NT_PRSTATUS);
  }
  if (result < 0) {
    return result;
  }
  if (!set) {
    bytes.resize(own.iov_len);
    if (type == NT_PRSTATUS) {
      const user_regs_struct registers = shown_registers(tracee);
      std::memcpy(bytes.data(), &registers, std::min(bytes.size(), sizeof registers));
    }
    if (const std::int64_t given = give(tracer, address, bytes); given != 0) {
      return given;
    }
  }
  const std::uint64_t length = own.iov_len;
  return give(tracer, tracer.call[3] + offsetof(iovec, iov_len), bytes_of(length));
}

std::int64_t Recorder::options_request(RecordedTask& tracer, RecordedTask& tracee) {
  const std::uint64_t options = tracer.call[3];
  if ((options & ~kKnownOptions) != 0) {
    return -EINVAL;
  }
  if ((options & kRefusedOptions) != 0) {
    notice_once("PTRACE_O_TRACESECCOMP and PTRACE_O_SUSPEND_SECCOMP are not supported; they are "
                "refused");
    return -EINVAL;
  }
  tracee.traced->options = options;
  return 0;
}

std::int64_t Recorder::message_request(RecordedTask& tracer, RecordedTask& tracee) {
  return give(tracer, tracer.call[3], bytes_of(tracee.traced->message));
}

std::int64_t Recorder::signal_info_request(RecordedTask& tracer, RecordedTask& tracee) {
  const siginfo_t& info = tracee.traced->info;
  return info.si_signo == 0 ? -EINVAL : give(tracer, tracer.call[3], bytes_of(info));
}

std::int64_t Recorder::set_signal_info_request(RecordedTask& tracer, RecordedTask& tracee) {
  siginfo_t info{};
  if (!take(tracer, tracer.call[3], std::as_writable_bytes(std::span(&info, 1)))) {
    return -EFAULT;
  }
  if (tracee.traced->info.si_signo == 0) {
    return -EINVAL;
  }
  tracee.traced->info = info;
  return 0;
}

std::int64_t Recorder::queued_signals_request(RecordedTask& tracer, RecordedTask& tracee) {
  __ptrace_peeksiginfo_args arguments{};
  if (!take(tracer, tracer.call[2], std::as_writable_bytes(std::span(&arguments, 1)))) {
    return -EFAULT;
  }
  constexpr std::int32_t kMost = 4096;
  arguments.nr = std::min(arguments.nr, kMost);
  std::vector<siginfo_t> signals(arguments.nr > 0 ? static_cast<std::size_t>(arguments.nr) : 0);
  const long result = ask(PTRACE_PEEKSIGINFO, tracee.tracee,
                          reinterpret_cast<std::uint64_t>(&arguments), signals.data());
  if (result <= 0) {
    return result;
  }
  signals.resize(static_cast<std::size_t>(result));
  const std::int64_t given = give(tracer, tracer.call[3], std::as_bytes(std::span(signals)));
  return given != 0 ? given : result;
}

std::int64_t Recorder::get_mask_request(RecordedTask& tracer, RecordedTask& tracee) {
  std::uint64_t mask = 0;
  const long result = ask(PTRACE_GETSIGMASK, tracee.tracee, tracer.call[2], &mask);
  return result < 0 ? result : give(tracer, tracer.call[3], bytes_of(mask));
}

std::int64_t Recorder::set_mask_request(RecordedTask& tracer, RecordedTask& tracee) {
  std::uint64_t mask = 0;
  if (!take(tracer, tracer.call[3], std::as_writable_bytes(std::span(&mask, 1)))) {
    return -EFAULT;
  }
  const long result = ask(PTRACE_SETSIGMASK, tracee.tracee, tracer.call[2], &mask);
  if (result < 0) {
    return result;
  }
  tracee.mask = tracee.tracee.signal_mask();
  if (tracee.in_call) {
    tracee.traced->mask_changed = true;
  } else {
    tracer.effects.changed = tracee.tid;
    tracer.effects.mask = true;
  }
  return result;
}

std::int64_t Recorder::call_info_request(RecordedTask& tracer, RecordedTask& tracee) {
  const user_regs_struct registers = shown_registers(tracee);
  __ptrace_syscall_info info{};
  info.arch = AUDIT_ARCH_X86_64;
  info.instruction_pointer = registers.rip;
  info.stack_pointer = registers.rsp;
  std::size_t length = offsetof(__ptrace_syscall_info, entry);
  if (tracee.traced->stop == Stop::kEntry) {
    const trace::SystemCall call(registers);
    info.op = PTRACE_SYSCALL_INFO_ENTRY;
    info.entry.nr = static_cast<std::uint64_t>(call.number);
    std::copy(call.arguments.begin(), call.arguments.end(), info.entry.args);
    length += sizeof info.entry;
  } else if (tracee.traced->stop == Stop::kExit) {
    info.op = PTRACE_SYSCALL_INFO_EXIT;
    info.exit.rval = static_cast<std::int64_t>(registers.rax);
    info.exit.is_error = info.exit.rval < 0 && info.exit.rval >= -4095;
    length += offsetof(decltype(info.exit), is_error) + 1;
  }
  const std::size_t given = std::min<std::uint64_t>(tracer.call[2], length);
  const std::int64_t result = give(tracer, tracer.call[3], bytes_of(info).first(given));
  return result != 0 ? result : static_cast<std::int64_t>(length);
}

// PTRACE_ARCH_PRCTL: the address is the value, the data says what it is.
std::int64_t Recorder::base_request(RecordedTask& tracer, RecordedTask& tracee) {
  constexpr std::uint64_t kSetGs = 0x1001; // asm/prctl.h
  constexpr std::uint64_t kSetFs = 0x1002;
  constexpr std::uint64_t kGetFs = 0x1003;
  constexpr std::uint64_t kGetGs = 0x1004;
  const std::uint64_t what = tracer.call[3];
  const user_regs_struct registers = tracee.tracee.registers();
  switch (what) {
  case kGetFs:
    return give(tracer, tracer.call[2], bytes_of(registers.fs_base));
  case kGetGs:
    return give(tracer, tracer.call[2], bytes_of(registers.gs_base));
  case kSetFs:
  case kSetGs: {
    const long result =
        ask(kArchPrctl, tracee.tracee, tracer.call[2], reinterpret_cast<const void*>(what));
    note_changed(tracer, tracee, false);
    return result;
  }
  default:
    return -EINVAL;
  }
}

// Recorded programs have none.
std::int64_t Recorder::rseq_request(RecordedTask& tracer, RecordedTask&) {
  const __ptrace_rseq_configuration configuration{};
  if (tracer.call[2] < sizeof configuration) {
    return -EINVAL;
  }
  const std::int64_t given = give(tracer, tracer.call[3], bytes_of(configuration));
  return given != 0 ? given : static_cast<std::int64_t>(sizeof configuration);
}

} // namespace rrpcp::replay
