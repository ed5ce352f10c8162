// System calls: what a replay makes itself for the kernel's view of a process to be right.

#include "process/proc_maps.h"
#include "process/remote_calls.h"
#include "replay/engine/injected_calls.h"
#include "replay/engine/replay_session.h"
#include "rrpcp/error.h"
#include "trace/system_call_names.h"

#include <algorithm>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

namespace rrpcp::replay {

namespace {

// linux/mman.h, newer than some headers
constexpr std::uint64_t kGuardInstall = 102;
constexpr std::uint64_t kGuardRemove = 103;
// asm/prctl.h
constexpr std::uint64_t kArchReqXcompPerm = 0x1023;

bool has_lasting_effect(std::uint64_t advice) {
  switch (advice) {
  case MADV_DONTNEED:
  case MADV_FREE: // carried out as MADV_DONTNEED while recording
  case MADV_REMOVE:
  case MADV_DONTFORK:
  case MADV_DOFORK:
  case MADV_WIPEONFORK:
  case MADV_KEEPONFORK:
  case kGuardInstall:
  case kGuardRemove:
    return true;
  default:
    return false;
  }
}

} // namespace

void ReplaySession::echo(Task& task) {
  if (current_.output == 0 || !options_.output) {
    return;
  }
  for (const EventData::Range& range : current_.output_ranges) {
    constexpr std::uint64_t kPiece = 1 << 20;
    for (std::uint64_t done = 0; done < range.length; done += kPiece) {
      buffer_.resize(std::min(kPiece, range.length - done));
      task.memory.read(range.address + done, buffer_);
      options_.output(current_.output, buffer_);
    }
  }
}

void ReplaySession::finish_call(Task& task) {
  const user_regs_struct entry = current_.registers ? *current_.registers : task.tracee.registers();
  task_state(current_.task).in_call = false;
  ++state_.system_calls;
  echo(task);
  perform(task, entry);
  set_after(task, entry);
}

// What the kernel has to do itself for its view of the process to be right.
void ReplaySession::perform(Task& task, const user_regs_struct& entry) {
  const SystemCall call(entry);
  const std::int64_t result = current_.result;
  if (result < 0 && result >= -4095) {
    return;
  }
  auto same = [&](bool compare) {
    InjectedCalls calls(task.tracee, site(task));
    const std::int64_t own = calls.call_with(call.number, call.arguments);
    if (compare && own != result) {
      diverged(system_call_name(call.number) + " returned " + std::to_string(own) +
               " and had returned " + std::to_string(result));
    }
  };
  switch (call.number) {
  case SYS_mmap:
    map(task, entry);
    return;
  case SYS_shmat: {
    if (current_.mapping && current_.mapping->object) {
      constexpr std::uint64_t kReadOnly = 010000; // SHM_RDONLY
      const bool writable = (call[2] & kReadOnly) == 0;
      map_object(task, entry, static_cast<std::uint64_t>(result), current_.mapping->length,
                 writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED | MAP_FIXED,
                 own_object(*current_.mapping->object), writable);
    }
    return;
  }
  case SYS_shmdt:
    for (const ProcMapping& mapping : read_mappings(task.tracee.tid())) {
      if (mapping.start == call[0]) {
        InjectedCalls calls(task.tracee, site(task));
        calls.require("unmapping", SYS_munmap, mapping.start, mapping.length());
        return;
      }
    }
    return;
  case SYS_munmap:
  case SYS_mprotect:
  case SYS_pkey_alloc:
  case SYS_pkey_free:
  case SYS_pkey_mprotect:
  case SYS_rt_sigaction:
  case SYS_sigaltstack:
  case SYS_set_robust_list:
    same(true);
    return;
  case SYS_set_tid_address:
    same(false);
    return;
  case SYS_madvise:
    if (has_lasting_effect(call[2])) {
      InjectedCalls calls(task.tracee, site(task));
      calls.call(SYS_madvise, call[0], call[1], call[2] == MADV_FREE ? MADV_DONTNEED : call[2]);
    }
    return;
  case SYS_brk:
    if (call[0] != 0 && static_cast<std::uint64_t>(result) == call[0]) {
      same(true);
    }
    return;
  case SYS_mremap: {
    InjectedCalls calls(task.tracee, site(task));
    std::int64_t own = 0;
    if (static_cast<std::uint64_t>(result) == call[0]) {
      own = calls.call(SYS_mremap, call[0], call[1], call[2], 0, 0);
    } else {
      own = calls.call(SYS_mremap, call[0], call[1], call[2],
                       (call[3] & MREMAP_DONTUNMAP) | MREMAP_MAYMOVE | MREMAP_FIXED, result);
    }
    if (own != result) {
      diverged("mremap returned " + std::to_string(own) + " and had returned " +
               std::to_string(result));
    }
    return;
  }
  case SYS_arch_prctl:
    if (call[0] == kArchReqXcompPerm) {
      same(true);
    }
    return;
  case SYS_prctl:
    if (call[0] == PR_SET_NAME) {
      same(true);
    }
    return;
  case SYS_setrlimit:
  case SYS_prlimit64: {
    // How far the stack grows is the kernel's own business.
    const bool by_pid = call.number == SYS_prlimit64;
    const std::uint64_t resource = by_pid ? call[1] : call[0];
    const std::uint64_t address = by_pid ? call[2] : call[1];
    if (resource == RLIMIT_STACK && address != 0 &&
        (!by_pid || call[0] == 0 || static_cast<pid_t>(call[0]) == task_state(current_.task).pid)) {
      rlimit limit = task.memory.read_value<rlimit>(address);
      rlimit own{};
      if (::prlimit(task.pid, RLIMIT_STACK, nullptr, &own) == 0) {
        limit.rlim_max = own.rlim_max;
        limit.rlim_cur = std::min(limit.rlim_cur, own.rlim_max);
        ::prlimit(task.pid, RLIMIT_STACK, &limit, nullptr);
      }
    }
    return;
  }
  default:
    return;
  }
}

std::uint64_t ReplaySession::site(Task& task) {
  if (task.site == 0) {
    const std::optional<std::uint64_t> found =
        find_syscall_instruction(task.tracee.tid(), read_mappings(task.tracee.tid()));
    if (!found) {
      throw Error(ErrorCode::kInternal, "the program has no system-call instruction");
    }
    task.site = *found;
  }
  return task.site;
}

} // namespace rrpcp::replay
