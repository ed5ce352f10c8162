// System calls, from their entry to their end.

#include "process/proc_file.h"
#include "process/proc_status.h"
#include "replay/engine/call_outputs.h"
#include "replay/engine/changed_pages.h"
#include "replay/engine/recorder.h"
#include "rrpcp/error.h"
#include "trace/event.h"
#include "trace/system_call_names.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/kcmp.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace rrpcp::replay {

namespace {

using State = RecordedTask::State;

constexpr long kX32Bit = 0x40000000;              // __X32_SYSCALL_BIT
constexpr long kMapShadowStack = 453;             // map_shadow_stack(2), Linux 6.6
constexpr std::uint64_t kNewUserfaultfd = 0xaa00; // USERFAULTFD_IOC_NEW
constexpr std::uint64_t kUserDispatch = 59;       // PR_SET_SYSCALL_USER_DISPATCH
// asm/prctl.h
constexpr std::uint64_t kSetCpuid = 0x1012;          // ARCH_SET_CPUID
constexpr std::uint64_t kMapVdsoX32 = 0x2001;        // ARCH_MAP_VDSO_X32
constexpr std::uint64_t kMapVdso64 = 0x2003;         // ARCH_MAP_VDSO_64
constexpr std::uint64_t kEnableTagging = 0x4002;     // ARCH_ENABLE_TAGGED_ADDR
constexpr std::uint64_t kEnableShadowStack = 0x5001; // ARCH_SHSTK_ENABLE

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
  task.call = SystemCall(task.entry);
  require_64_bit(task);
  task.site = task.entry.rip - kSyscallLength;
  if (!task.held.empty()) {
    call_off(task);
    return false;
  }
  task.called_off.reset();
  task.in_call = true;
  task.begun = false;
  task.forced_result.reset();
  task.output = 0;
  task.written_object.reset();
  task.digests.reset();
  prepare_call(task);
  switch (task.call.number) {
  case SYS_exit:
  case SYS_exit_group:
    begin_call(task);
    break;
  case SYS_sched_yield:
  case SYS_nanosleep:
  case SYS_clock_nanosleep:
    scheduler_.yield();
    break;
  default:
    break;
  }
  resume_call(task);
  return false;
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
  const SystemCall& call = task.call;
  if (call.number >= kX32Bit && call.number < 2 * kX32Bit) {
    answer(task, -ENOSYS,
           "x32 system calls are not supported; the program is told that they do not exist");
    return;
  }
  switch (call.number) {
  case SYS_rseq:
    answer(task, -ENOSYS, "");
    return;
  case SYS_io_uring_setup:
  case SYS_io_uring_enter:
  case SYS_io_uring_register:
    answer(task, -ENOSYS, "io_uring is not supported; the program is told that it does not exist");
    return;
  case SYS_io_setup:
  case SYS_userfaultfd:
  case SYS_perf_event_open:
  case SYS_remap_file_pages:
  case SYS_modify_ldt:
  case SYS_memfd_secret:
  case kMapShadowStack:
    answer(task, -ENOSYS,
           system_call_name(call.number) +
               " is not supported; the program is told that it does not exist");
    return;
  case SYS_ptrace:
    answer(task, -EPERM, "ptrace inside of a recording is not supported; it is refused");
    return;
  case SYS_process_vm_writev:
    answer(task, -EPERM, system_call_name(call.number) + " is not supported; it is refused");
    return;
  case SYS_prctl:
    prepare_prctl(task);
    if (task.forced_result) {
      return;
    }
    break;
  case SYS_clone:
    if ((call[0] & kCloneUntraced) != 0) {
      user_regs_struct registers = task.entry;
      registers.rdi &= ~kCloneUntraced;
      task.tracee.set_registers(registers);
    }
    return;
  case SYS_clone3: {
    std::uint64_t flags = 0;
    if (task.memory.read_some(call[0], std::as_writable_bytes(std::span(&flags, 1))) ==
            sizeof flags &&
        (flags & kCloneUntraced) != 0) {
      flags &= ~kCloneUntraced;
      task.memory.write(call[0], std::as_bytes(std::span(&flags, 1)));
      task.untraced = true;
    }
    return;
  }
  case SYS_madvise:
    if (call[2] == MADV_FREE) { // when the kernel takes the pages is not to be foreseen
      user_regs_struct registers = task.entry;
      registers.rdx = MADV_DONTNEED;
      task.tracee.set_registers(registers);
    }
    return;
  case SYS_mmap:
    if ((call[3] & MAP_ANONYMOUS) == 0) {
      refuse_mapping(task);
    }
    return;
  case SYS_ioctl:
    if (static_cast<std::uint32_t>(call[1]) == kNewUserfaultfd &&
        descriptor_name(task, call[0]) == "/dev/userfaultfd") {
      answer(task, -ENOTTY,
             "userfaultfd is not supported; the program is told that it does not exist");
      return;
    }
    break;
  case SYS_arch_prctl:
    if (call[0] == kSetCpuid) {
      answer(task, -ENODEV, "trapping CPUID is not supported; it is refused");
      return;
    }
    if (call[0] == kEnableTagging || call[0] == kEnableShadowStack ||
        (call[0] >= kMapVdsoX32 && call[0] <= kMapVdso64)) {
      answer(task, -EINVAL,
             call[0] == kEnableTagging ? "tagged addresses are not supported; they are refused"
             : call[0] == kEnableShadowStack ? "shadow stacks are not supported; they are refused"
                                             : "mapping a vDSO is not supported; it is refused");
      return;
    }
    break;
  default:
    break;
  }
  note_output(task);
  if (task.forced_result) {
    return;
  }
  note_object(task);
  if (!outputs_known(call)) {
    task.digests = std::make_unique<PageDigests>(task.tid, task.memory);
  }
}

// The recorder has to read the process, and to see its time-stamp counter: the program gets what it
// would see if it had its way.
void Recorder::prepare_prctl(RecordedTask& task) {
  const SystemCall& call = task.call;
  switch (call[0]) {
  case PR_SET_TSC:
    if (call[1] != PR_TSC_ENABLE && call[1] != PR_TSC_SIGSEGV) {
      break; // the kernel says what is wrong
    }
    task.forgoes_counter = call[1] == PR_TSC_SIGSEGV;
    answer(task, 0, "");
    break;
  case kUserDispatch:
    if (call[1] != 0) { // PR_SYS_DISPATCH_OFF
      answer(task, -EINVAL,
             "dispatching system calls to the program is not supported; it is refused");
    }
    break;
  case PR_SET_DUMPABLE:
    if (call[1] > 1) {
      break;
    }
    *task.dumpable = static_cast<int>(call[1]);
    answer(task, 0, "");
    break;
  case PR_GET_DUMPABLE:
    if (*task.dumpable) {
      answer(task, **task.dumpable, "");
    }
    break;
  default:
    break;
  }
}

// What /proc says that a descriptor is.
std::string Recorder::descriptor_name(const RecordedTask& task, std::uint64_t fd) {
  return try_read_link(proc_path(task.pid, "fd/" + std::to_string(static_cast<int>(fd))))
      .value_or("");
}

// Only files can be kept: what a device, a socket or an object of the kernel shows in memory is
// written without a system call of the program's.
void Recorder::refuse_mapping(RecordedTask& task) {
  const std::string path =
      proc_path(task.pid, "fd/" + std::to_string(static_cast<int>(task.call[4])));
  struct stat status;
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

// Whether the call writes to the recorder's own output.
void Recorder::note_output(RecordedTask& task) {
  std::uint64_t fd = 0;
  switch (task.call.number) {
  case SYS_sendfile:
    fd = task.call[0];
    break;
  case SYS_splice:
  case SYS_copy_file_range:
    fd = task.call[2];
    break;
  case SYS_tee:
    fd = task.call[1];
    break;
  case SYS_vmsplice:
    fd = task.call[0];
    break;
  default:
    if (!writes_descriptor(task.call)) {
      return;
    }
    fd = task.call[0];
    break;
  }
  for (int own : {1, 2}) {
    if (::syscall(SYS_kcmp, task.tid, ::getpid(), KCMP_FILE, fd, own) == 0) {
      if (!writes_descriptor(task.call)) {
        // Data that never passes through the program's memory: have it use write(2).
        answer(task, -EINVAL, "");
        return;
      }
      task.output = own;
      return;
    }
  }
}

// Whether the call changes a file that is mapped shared.
void Recorder::note_object(RecordedTask& task) {
  if (objects_.empty()) {
    return;
  }
  switch (task.call.number) {
  case SYS_write:
  case SYS_pwrite64:
  case SYS_writev:
  case SYS_pwritev:
  case SYS_pwritev2:
  case SYS_ftruncate:
  case SYS_fallocate: {
    struct stat status;
    const std::string path =
        proc_path(task.pid, "fd/" + std::to_string(static_cast<int>(task.call[0])));
    if (::stat(path.c_str(), &status) == 0) {
      auto found = objects_.find({status.st_dev, status.st_ino});
      if (found != objects_.end()) {
        task.written_object = found->second;
      }
    }
    return;
  }
  default:
    return;
  }
}

void Recorder::begin_call(RecordedTask& task) {
  if (!task.begun) {
    EventData& event = writer_->begin(EventKind::kSystemCallBegun, task);
    event.registers = task.entry;
    writer_->write();
    task.begun = true;
  }
  task.state = State::kInCall;
}

void Recorder::on_call_end(RecordedTask& task) {
  user_regs_struct registers = task.tracee.registers();
  if (task.forced_result) {
    registers.rax = static_cast<std::uint64_t>(*task.forced_result);
    registers.orig_rax = ~std::uint64_t{0};
    task.tracee.set_registers(registers);
  } else if (task.call.number == SYS_madvise && task.call[2] == MADV_FREE) {
    registers.rdx = MADV_FREE;
    task.tracee.set_registers(registers);
  } else if (task.call.number == SYS_clone && (task.call[0] & kCloneUntraced) != 0) {
    registers.rdi |= kCloneUntraced;
    task.tracee.set_registers(registers);
  }
  if (std::exchange(task.untraced, false)) {
    put_back_untraced(task, task);
  }
  task.boundary = registers;
  const auto result = static_cast<std::int64_t>(registers.rax);
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
  EventData& event =
      writer_->begin(task.begun ? EventKind::kSystemCallFinished : EventKind::kSystemCall, task);
  if (!task.begun) {
    event.registers = task.entry;
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
    return;
  }
  if (task.call.number != SYS_rt_sigreturn && is_restart(result)) {
    // The call begins anew, unless a handler comes between: that is an event of its own.
    if (result == kRestartBlock && task.call.number != SYS_restart_syscall) {
      task.restarted = task.call;
    }
    registers.rip -= kSyscallLength;
    registers.rax = result == kRestartBlock ? SYS_restart_syscall : task.entry.orig_rax;
  }
  if (std::memcmp(&expected, &registers, sizeof expected) != 0) {
    registers.orig_rax = ~std::uint64_t{0};
    event.registers_after = registers;
  }
  record_outputs(task, result);
  replace_in_new_code(task, result);
  writer_->write();
  end_call(task);
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
  const ProcStatus status = ProcStatus::read(task.pid, task.tid);
  return status.seccomp != 0 && (status.pending & kBit) != 0;
}

// The event has changed the mask.
void Recorder::note_mask(RecordedTask& task) {
  task.mask = task.tracee.signal_mask();
  writer_->event().signal_mask = task.mask;
}

} // namespace rrpcp::replay
