// System calls, from their entry to their end.

#include "base/page.h"
#include "base/scoped_fd.h"
#include "process/proc_file.h"
#include "process/proc_maps.h"
#include "process/proc_status.h"
#include "replay/engine/call_memory.h"
#include "replay/engine/changed_pages.h"
#include "replay/engine/recorder.h"
#include "rrpcp/error.h"
#include "trace/call_table.h"
#include "trace/event.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/kcmp.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace rrpcp::replay {

namespace {

using State = RecordedTask::State;

// Newer than some headers.
constexpr long kFutexWaitv = 449;
constexpr long kFutexWake = 454;
constexpr long kFutexWait = 455;
constexpr long kFutexRequeue = 456;

// Of the process; 0: it has none.
dev_t controlling_terminal(pid_t pid) {
  const std::string text = process::try_read_file(process::proc_path(pid, "stat")).value_or("");
  char state = 0;
  int terminal = 0; // field 7 of proc_pid_stat(5), the name in field 2 may hold anything
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos ||
      std::sscanf(text.c_str() + name_end + 1, " %c %*d %*d %*d %d", // NOLINT
                  &state, &terminal) != 2) {
    return 0;
  }
  const auto number = static_cast<unsigned>(terminal);
  return makedev(number >> 8 & 0xfff, (number & 0xff) | (number >> 12 & 0xfff00));
}

constexpr long kX32Bit = 0x40000000;                      // __X32_SYSCALL_BIT
constexpr std::uint64_t kPersonalityNoRandom = 0x0040000; // ADDR_NO_RANDOMIZE
constexpr std::uint64_t kAskPersonality = 0xffffffff;
// Whether a file is not one of data: of those the kernel finds out whether they can be mapped when
// it has already cleared the place (MAP_FIXED).
bool is_of_kernel(const std::string& path) {
  struct statfs system {};
  return ::statfs(path.c_str(), &system) == 0 &&
         (system.f_type == PROC_SUPER_MAGIC || system.f_type == SYSFS_MAGIC ||
          system.f_type == DEBUGFS_MAGIC || system.f_type == TRACEFS_MAGIC ||
          system.f_type == CGROUP_SUPER_MAGIC || system.f_type == CGROUP2_SUPER_MAGIC);
}

int error_of_mapping(const std::string& path) {
  const ScopedFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) {
    return errno;
  }
  void* const mapped = ::mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (mapped == MAP_FAILED) {
    return errno;
  }
  ::munmap(mapped, kPage);
  return 0;
}

// asm-generic/mman-common.h
constexpr std::uint64_t kPoison = 100;      // MADV_HWPOISON
constexpr std::uint64_t kSoftOffline = 101; // MADV_SOFT_OFFLINE

} // namespace

// The numbers of `int $0x80` mean other calls. (After `syscall` these registers are what the
// instruction makes them; only where they are not the kernel has to be asked.)
void Recorder::require_64_bit(const RecordedTask& task) const {
  constexpr std::uint64_t kSingleStep = 0x100; // TF
  if (task.entry.rcx == task.entry.rip &&
      ((task.entry.r11 ^ task.entry.eflags) & ~kSingleStep) == 0) {
    return;
  }
  __ptrace_syscall_info info{};
  if (::ptrace(static_cast<__ptrace_request>(PTRACE_GET_SYSCALL_INFO), task.tid, sizeof info,
               &info) > 0 &&
      info.arch != AUDIT_ARCH_X86_64) {
    throw Error(ErrorCode::kUnsupportedState,
                "the program makes 32-bit system calls (int $0x80), which cannot be recorded");
  }
}

// Returns true where the task goes on in the middle of its program.
bool Recorder::on_entry(RecordedTask& task) {
  task.entry = task.tracee.registers();
  task.call = trace::SystemCall(task.entry);
  require_64_bit(task);
  task.site = task.entry.rip - trace::kSyscallLength;
  if (!task.held.empty() && task.call.number != SYS_rt_sigreturn) {
    pend_blocked(task);
  }
  if (task.signal_due()) {
    call_off(task);
    return false;
  }
  if (open_for_call(task)) {
    return false;
  }
  task.called_off.reset();
  task.in_call = true;
  task.begun = false;
  task.forced_result.reset();
  task.output = 0;
  task.arguments_changed = false;
  task.digests.reset();
  task.effects.clear();
  note_inputs(task);
  if (!shows_entry(task)) {
    enter_call(task);
  }
  return false;
}

// The kernel gets the call that the task stands at the entry of.
void Recorder::enter_call(RecordedTask& task) {
  if (shows_exit(task)) {
    return;
  }
  prepare_call(task);
  switch (task.call.number) {
  case SYS_exit:
    note_futexes(task);
    begin_call(task);
    break;
  case SYS_exit_group:
    note_futexes_of_process(task.pid);
    begin_call(task);
    break;
  case SYS_execve:
  case SYS_execveat:
    note_futexes_of_process(task.pid);
    break;
  case SYS_kill:
  case SYS_tkill:
  case SYS_tgkill:
  case SYS_pidfd_send_signal:
    note_futexes_before_kill(task);
    break;
  case SYS_sched_yield:
  case SYS_nanosleep:
  case SYS_clock_nanosleep:
    scheduler_.yield();
    break;
  default:
    break;
  }
  // A thread that is not the leader is gone afterwards, and forgotten.
  const bool leader_ends = task.call.number == SYS_exit && task.tid == task.pid;
  resume_call(task);
  if (leader_ends) {
    record_end_of_leader(task);
  }
}

// What the call reads, before anything of it is changed for the kernel: a replay compares it.
void Recorder::note_inputs(RecordedTask& task) {
  task.inputs.clear();
  switch (task.call.number) {
  case SYS_futex: // the kernel writes the words of tasks that end, at any time
  case kFutexWaitv:
  case kFutexWake:
  case kFutexWait:
  case kFutexRequeue:
    return;
  default:
    break;
  }
  ranges_.clear();
  call_inputs(task.call, task.memory, ranges_);
  for (const CallRange& range : ranges_) {
    task.inputs.push_back({range.address, range.length});
  }
  if (!task.inputs.empty()) {
    task.input_digest = digest_.of_readable(task.memory, task.inputs);
  }
}

// Has the kernel skip the call: `result` is what it returns.
void Recorder::answer(RecordedTask& task, std::int64_t result, const std::string& what) {
  user_regs_struct registers = task.entry;
  registers.orig_rax = ~std::uint64_t{0};
  task.tracee.set_registers(registers);
  task.forced_result = result;
  if (!what.empty()) {
    notice_once(what);
  }
}

void Recorder::prepare_call(RecordedTask& task) {
  const trace::SystemCall& call = task.call;
  if (call.number >= kX32Bit && call.number < 2 * kX32Bit) {
    answer(task, -ENOSYS,
           "x32 system calls are not supported; the program is told that they do not exist");
    return;
  }
  prepare_confinement(task);
  if (task.forced_result) {
    return;
  }
  const trace::CallRow& row = trace::call_row(call);
  if (row.refusal.error != 0) {
    refuse(task, row);
    return;
  }
  switch (row.care) {
  case trace::Care::kNone:
  case trace::Care::kOtherProcess:
  case trace::Care::kAffinity:
    break;
  case trace::Care::kCounter:
  case trace::Care::kSetDumpable:
  case trace::Care::kGetDumpable:
  case trace::Care::kDispatch:
    prepare_attribute(task, row.care);
    break;
  case trace::Care::kClone:
    prepare_clone(task);
    break;
  case trace::Care::kClone3:
    prepare_clone3(task);
    break;
  case trace::Care::kAdvice:
    prepare_advice(task);
    break;
  case trace::Care::kMapping:
    if ((call[3] & MAP_ANONYMOUS) == 0) {
      refuse_mapping(task);
    }
    break;
  case trace::Care::kUserfault:
    if (descriptor_name(task, call[0]) == "/dev/userfaultfd") {
      answer(task, -ENOTTY,
             "userfaultfd is not supported; the program is told that it does not exist");
    }
    break;
  case trace::Care::kProtectionKey:
    if (!offers_protection_keys(start_.getRoot<schema::TraceStart>().getCpu().asReader())) {
      answer(task, -ENOSPC, ""); // as the kernel does where the processor has none
    }
    break;
  case trace::Care::kPersonality:
    prepare_personality(task);
    break;
  case trace::Care::kTracing:
    prepare_ptrace(task);
    break;
  case trace::Care::kWaiting:
    prepare_wait(task);
    break;
  }
  if (task.forced_result) {
    return;
  }
  note_output(task, row);
  if (row.compared && !task.forced_result) {
    task.digests =
        std::make_unique<PageDigests>(task.tid, task.memory, PageRange(), task.made_code);
  }
}

void Recorder::refuse(RecordedTask& task, const trace::CallRow& row) {
  std::string notice(row.refusal.notice);
  if (notice.starts_with("is ")) {
    notice = std::string(row.name) + " " + notice;
  }
  answer(task, -row.refusal.error, notice);
}

// The recorder has to read the process, and to see its time-stamp counter: the program gets what it
// would see if it had its way.
void Recorder::prepare_attribute(RecordedTask& task, trace::Care care) {
  const trace::SystemCall& call = task.call;
  switch (care) {
  case trace::Care::kCounter:
    if (call[1] != PR_TSC_ENABLE && call[1] != PR_TSC_SIGSEGV) {
      break; // the kernel says what is wrong
    }
    task.forgoes_counter = call[1] == PR_TSC_SIGSEGV;
    answer(task, 0, "");
    break;
  case trace::Care::kDispatch:
    if (call[1] != 0) { // PR_SYS_DISPATCH_OFF
      answer(task, -EINVAL,
             "dispatching system calls to the program is not supported; it is refused");
    }
    break;
  case trace::Care::kSetDumpable:
    if (call[1] > 1) {
      break;
    }
    *task.dumpable = static_cast<int>(call[1]);
    answer(task, 0, "");
    break;
  case trace::Care::kGetDumpable:
    if (*task.dumpable) {
      answer(task, **task.dumpable, "");
    }
    break;
  default:
    break;
  }
}

// Gives the kernel another argument; the program gets its own back (put_back_arguments).
void Recorder::change_argument(RecordedTask& task, unsigned number, std::uint64_t value) {
  user_regs_struct registers = task.entry;
  unsigned long long* const arguments[] = {&registers.rdi, &registers.rsi, &registers.rdx,
                                           &registers.r10, &registers.r8,  &registers.r9};
  *arguments[number] = value;
  task.tracee.set_registers(registers);
  task.arguments_changed = true;
}

void Recorder::put_back_arguments(RecordedTask& task, user_regs_struct& registers) const {
  registers.rdi = task.entry.rdi;
  registers.rsi = task.entry.rsi;
  registers.rdx = task.entry.rdx;
  registers.r10 = task.entry.r10;
  registers.r8 = task.entry.r8;
  registers.r9 = task.entry.r9;
  task.arguments_changed = false;
}

void Recorder::prepare_clone(RecordedTask& task) {
  if ((task.call[0] & kCloneUntraced) != 0) {
    change_argument(task, 0, task.call[0] & ~kCloneUntraced);
  }
}

void Recorder::prepare_clone3(RecordedTask& task) {
  std::uint64_t flags = 0;
  if (task.memory.read_some(task.call[0], std::as_writable_bytes(std::span(&flags, 1))) ==
          sizeof flags &&
      (flags & kCloneUntraced) != 0) {
    flags &= ~kCloneUntraced;
    task.memory.write(task.call[0], std::as_bytes(std::span(&flags, 1)));
    task.untraced = true;
  }
}

// madvise(2), process_madvise(2).
void Recorder::prepare_advice(RecordedTask& task) {
  const trace::SystemCall& call = task.call;
  const bool listed = call.number == SYS_process_madvise;
  const unsigned place = listed ? 3 : 2;
  const std::uint64_t advice = call[place] & 0xffffffff;
  if (advice == kPoison || advice == kSoftOffline) {
    answer(task, -EPERM, "taking away pages (MADV_HWPOISON) is not supported; it is refused");
    return;
  }
  if (advice != MADV_FREE && advice != MADV_DONTNEED) {
    return;
  }
  const std::uint64_t end = call[0] + call[1];
  if (advice == MADV_FREE) { // when the kernel takes the pages is not to be foreseen
    if (!listed) {
      for (const process::ProcMapping& mapping : process::read_mappings(task.tid)) {
        if (mapping.start < end && mapping.end > call[0] &&
            (mapping.inode != 0 || mapping.shared)) {
          answer(task, -EINVAL, ""); // so it would end here; nothing has been freed yet
          return;
        }
      }
    }
    change_argument(task, place, MADV_DONTNEED);
  }
  if (!listed && process::ProcStatus::read(task.pid, task.tid).locked != 0) {
    // It ends at locked memory, which a replay does not have.
    task.digests = std::make_unique<PageDigests>(task.tid, task.memory, PageRange{call[0], end},
                                                 task.made_code);
  }
}

// The program sees the personality that it would have without the recorder.
void Recorder::prepare_personality(RecordedTask& task) {
  const std::uint64_t wanted = task.call[0] & kAskPersonality;
  if (wanted != kAskPersonality && (wanted & kPersonalityNoRandom) == 0) {
    change_argument(task, 0, wanted | kPersonalityNoRandom);
  }
}

// What /proc says that a descriptor is.
std::string Recorder::descriptor_name(const RecordedTask& task, std::uint64_t fd) {
  return process::try_read_link(
             process::proc_path(task.tid, "fd/" + std::to_string(static_cast<int>(fd))))
      .value_or("");
}

// Only files can be kept: what a device, a socket or an object of the kernel shows in memory is
// written without a system call of the program's.
void Recorder::refuse_mapping(RecordedTask& task) {
  const std::string path =
      process::proc_path(task.tid, "fd/" + std::to_string(static_cast<int>(task.call[4])));
  struct stat status;
  if (::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
      (task.call[3] & MAP_FIXED) != 0 && is_of_kernel(path)) {
    if (const int error = error_of_mapping(path); error != 0) {
      answer(task, -error, "");
    }
    return;
  }
  if (::stat(path.c_str(), &status) != 0 || S_ISREG(status.st_mode) || S_ISDIR(status.st_mode) ||
      S_ISFIFO(status.st_mode) || // the kernel refuses it itself
      (S_ISCHR(status.st_mode) && status.st_rdev == makedev(1, 5))) { // /dev/zero
    return;
  }
  answer(task, -ENODEV,
         "mapping a device (" + descriptor_name(task, task.call[4]) +
             ") is not supported; it is refused");
}

// The arguments of clone3(2) as the program had them, in the memory of one who has them too.
void Recorder::put_back_untraced(const RecordedTask& task, RecordedTask& in) {
  std::uint64_t flags = in.memory.read_value<std::uint64_t>(task.call[0]) | kCloneUntraced;
  in.memory.write(task.call[0], std::as_bytes(std::span(&flags, 1)));
}

// Whether the descriptor leads where the recorder's own output goes: 1, 2, or 0 for neither.
int Recorder::own_output(const RecordedTask& task, std::uint64_t fd) const {
  for (const int own : {1, 2}) {
    if (::syscall(SYS_kcmp, task.tid, ::getpid(), KCMP_FILE, fd, own) == 0) {
      return own;
    }
  }
  // Opened once more: /dev/stdout, /dev/tty. (In a file each would have a place of its own.)
  struct stat status;
  for (const int own : {1, 2}) {
    const struct stat& ours = own_outputs_[static_cast<std::size_t>(own)];
    if (!S_ISFIFO(ours.st_mode) && !S_ISCHR(ours.st_mode)) {
      continue;
    }
    const std::string path = process::proc_path(task.tid, "fd/" + std::to_string(fd));
    if (::stat(path.c_str(), &status) != 0 ||
        (status.st_mode & S_IFMT) != (ours.st_mode & S_IFMT)) {
      continue;
    }
    constexpr unsigned kControlling = 5; // /dev/tty
    const bool same =
        S_ISFIFO(ours.st_mode)
            ? status.st_dev == ours.st_dev && status.st_ino == ours.st_ino
            : status.st_rdev == ours.st_rdev || (status.st_rdev == makedev(kControlling, 0) &&
                                                 controlling_terminal(task.pid) == ours.st_rdev);
    if (same) {
      return own;
    }
  }
  return 0;
}

// Whether the call writes to the recorder's own output.
void Recorder::note_output(RecordedTask& task, const trace::CallRow& row) {
  const bool from_memory = writes_descriptor(task.call);
  if (!from_memory && row.file.kind != trace::FileChange::Kind::kWritten) {
    return;
  }
  const std::uint64_t fd = task.call[from_memory ? 0 : row.file.descriptor];
  const int own = own_output(task, fd);
  if (own != 0 && !from_memory) {
    // Data that never passes through the program's memory: have it use write(2).
    answer(task, -EINVAL, "");
    return;
  }
  task.output = own;
}

void Recorder::begin_call(RecordedTask& task) {
  if (!task.begun) {
    trace::EventData& event = writer_->begin(trace::EventKind::kSystemCallBegun, task);
    put_entry(task, event);
    ranges_.clear();
    outputs_so_far(task.call, task.memory, ranges_);
    for (const CallRange& range : ranges_) {
      writer_->add_memory(task.memory, range.address, range.length, event.memory);
    }
    tell_made_code(task);
    writer_->write();
    task.begun = true;
  }
  task.state = State::kInCall;
}

void Recorder::on_call_end(RecordedTask& task) {
  user_regs_struct registers = task.tracee.registers();
  if (std::exchange(task.skipped, false)) {
    record_skipped(task, registers);
    if (task.traced) {
      task.traced->call_ended = true;
    }
    return;
  }
  if (task.forced_result) {
    registers.rax = static_cast<std::uint64_t>(*task.forced_result);
    registers.orig_rax = ~std::uint64_t{0};
    task.tracee.set_registers(registers);
  } else if (task.arguments_changed || task.call.number == SYS_personality) {
    put_back_arguments(task, registers);
    if (task.call.number == SYS_personality && static_cast<std::int64_t>(registers.rax) >= 0) {
      registers.rax &= ~kPersonalityNoRandom;
      registers.rax |= task.says_not_random ? kPersonalityNoRandom : 0;
      if ((task.call[0] & kAskPersonality) != kAskPersonality) {
        task.says_not_random = (task.call[0] & kPersonalityNoRandom) != 0;
      }
    }
    task.tracee.set_registers(registers);
  }
  if (std::exchange(task.untraced, false)) {
    put_back_untraced(task, task);
  }
  if (trace::call_row(task.call).care == trace::Care::kWaiting && !task.forced_result) {
    finish_wait(task, registers);
  }
  task.boundary = registers;
  const auto result = static_cast<std::int64_t>(registers.rax);
  if (open_after_call(task, result)) {
    return;
  }
  if (result == 0 &&
      (task.call.number == SYS_prctl
           ? task.call[0] == PR_SET_SECCOMP && task.call[1] == SECCOMP_MODE_STRICT
           : task.call.number == SYS_seccomp && task.call[0] == SECCOMP_SET_MODE_STRICT)) {
    task.forgoes_counter = true; // the kernel takes it away too
  }
  if (task.call.number == SYS_prctl && task.call[0] == PR_GET_TSC && result == 0) {
    const int mode = task.forgoes_counter ? PR_TSC_SIGSEGV : PR_TSC_ENABLE;
    task.memory.write(task.call[1], std::as_bytes(std::span(&mode, 1)));
  }
  if (trace::call_row(task.call).care == trace::Care::kAffinity) {
    keep_affinity(task, result);
  }
  trace::EventData& event = writer_->begin(
      task.begun ? trace::EventKind::kSystemCallFinished : trace::EventKind::kSystemCall, task);
  if (!task.begun) {
    put_entry(task, event);
  }
  event.result = result;
  user_regs_struct expected = task.entry;
  expected.rax = registers.rax;
  registers.orig_rax = expected.orig_rax;
  if (result == task.call.number && result > 0 && was_filtered(task)) {
    // For a replay the call failed: it must not be carried out, nor its output shown.
    event.result = -ENOSYS;
    registers.orig_rax = ~std::uint64_t{0};
    event.registers_after = registers;
    writer_->write();
    end_call(task);
    if (task.traced) {
      task.traced->call_ended = true;
    }
    return;
  }
  if (task.call.number != SYS_rt_sigreturn && trace::is_restart(result)) {
    // The call begins anew, unless a handler comes between: that is an event of its own.
    if (result == trace::kRestartBlock && task.call.number != SYS_restart_syscall) {
      task.restarted = task.call;
    }
    registers.rip -= trace::kSyscallLength;
    registers.rax = result == trace::kRestartBlock ? SYS_restart_syscall : task.entry.orig_rax;
  }
  if (std::memcmp(&expected, &registers, sizeof expected) != 0) {
    registers.orig_rax = ~std::uint64_t{0};
    event.registers_after = registers;
  }
  note_confinement(task, result);
  put_back_told_in_call(task, result);
  record_outputs(task, result);
  replace_in_new_code(task, result);
  tell_made_code(task);
  record_digests(task);
  if (task.traced) {
    if (std::exchange(task.traced->extended_changed, false)) {
      note_extended_registers(task);
    }
    if (std::exchange(task.traced->mask_changed, false)) {
      note_mask(task);
    }
    task.traced->call_ended = true;
  }
  writer_->write();
  end_call(task);
  note_descriptors(task, result);
  record_request(task);
}

void Recorder::end_call(RecordedTask& task) {
  task.in_call = false;
  task.state = State::kReady;
}

// Whether a filter of seccomp(2) had the kernel skip the call that has just ended and raise SIGSYS
// (SECCOMP_RET_TRAP). The register of results has the call's number then, which is the result of
// other calls too.
bool Recorder::was_filtered(const RecordedTask& task) const {
  constexpr std::uint64_t kBit = std::uint64_t{1} << (SIGSYS - 1);
  const process::ProcStatus status = process::ProcStatus::read(task.pid, task.tid);
  return status.seccomp != 0 && (status.pending & kBit) != 0;
}

// The event has changed the mask.
void Recorder::note_mask(RecordedTask& task) {
  task.mask = task.tracee.signal_mask();
  writer_->event().signal_mask = task.mask;
}

} // namespace rrpcp::replay
