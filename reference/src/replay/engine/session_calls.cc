// System calls: what a replay makes itself for the kernel's view of a process to be right.

#include "base/page.h"
#include "process/proc_maps.h"
#include "process/remote_calls.h"
#include "replay/engine/call_memory.h"
#include "replay/engine/injected_calls.h"
#include "replay/engine/replay_session.h"
#include "rrpcp/error.h"
#include "trace/call_table.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <utility>
#include <vector>

namespace rrpcp::replay {

namespace {

// linux/mman.h, newer than some headers
constexpr std::uint64_t kPopulateWrite = 23;
constexpr std::uint64_t kDontNeedLocked = 24;
constexpr std::uint64_t kGuardInstall = 102;
constexpr std::uint64_t kGuardRemove = 103;

// Whether advice changes what the program sees of its memory, or what calls do with it.
bool has_lasting_effect(std::uint64_t advice) {
  switch (advice) {
  case MADV_DONTNEED:
  case MADV_FREE: // carried out as MADV_DONTNEED while recording
  case MADV_REMOVE:
  case MADV_DONTFORK:
  case MADV_DOFORK:
  case MADV_WIPEONFORK:
  case MADV_KEEPONFORK:
  case kDontNeedLocked:
  case kGuardInstall:
  case kGuardRemove:
    return true;
  default:
    return false;
  }
}

// Whether a call that failed may have done a part of its work. (With other errors it has done
// nothing, or a filter of seccomp(2) has answered.)
bool fails_halfway(trace::Made made, std::int64_t result) {
  switch (made) {
  case trace::Made::kAgainAlways:
  case trace::Made::kAdvise:
    return result == -ENOMEM || result == -EACCES;
  case trace::Made::kMove:
    return result == -ENOMEM || result == -EFAULT || result == -EAGAIN;
  default:
    return false;
  }
}

bool failed(std::int64_t result) {
  return result < 0 && result >= -4095;
}

} // namespace

void ReplaySession::echo(Task& task) {
  if (current_.output == 0) {
    return;
  }
  compare_output(task);
  if (!options_.output) {
    return;
  }
  for (const trace::EventData::Range& range : current_.output_ranges) {
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

void ReplaySession::require_same(const trace::SystemCall& call, std::int64_t own) const {
  if (own != current_.result) {
    diverged(trace::system_call_name(call.number) + " returned " + std::to_string(own) +
             " and had returned " + std::to_string(current_.result));
  }
}

// What the kernel has to do itself for its view of the process to be right.
void ReplaySession::perform(Task& task, const user_regs_struct& entry) {
  const trace::SystemCall call(entry);
  const trace::Made made = trace::call_row(call).made;
  if (failed(current_.result) && !fails_halfway(made, current_.result)) {
    return;
  }
  if (made != trace::Made::kNothing) {
    changeable_.clear();
  }
  switch (made) {
  case trace::Made::kNothing:
  case trace::Made::kTask:
    return;
  case trace::Made::kAgain:
  case trace::Made::kAgainAlways: {
    InjectedCalls calls(task.tracee, site(task));
    require_same(call, calls.call_with(call.number, call.arguments));
    if (call.number == SYS_rt_sigaction && call[0] == SIGTRAP && call[1] != 0) {
      for (const auto& [tid, other] : tasks_) {
        if (other->pid == task.pid) {
          note_trap(*other);
        }
      }
    }
    return;
  }
  case trace::Made::kAgainUnchecked: {
    InjectedCalls calls(task.tracee, site(task));
    calls.call_with(call.number, call.arguments);
    return;
  }
  case trace::Made::kMap:
    map(task, entry);
    return;
  case trace::Made::kBreak:
    if (call[0] != 0 && static_cast<std::uint64_t>(current_.result) == call[0]) {
      InjectedCalls calls(task.tracee, site(task));
      require_same(call, calls.call_with(call.number, call.arguments));
    }
    return;
  case trace::Made::kMove:
    move(task, call);
    return;
  case trace::Made::kAdvise:
    advise(task, call);
    return;
  case trace::Made::kAdviseList:
    advise_list(task, call);
    return;
  case trace::Made::kAttach:
    attach(task, entry);
    return;
  case trace::Made::kDetach:
    detach(task, call);
    return;
  case trace::Made::kStackLimit:
    set_stack_limit(task, call);
    return;
  case trace::Made::kPersonality:
    set_personality(task, call);
    return;
  }
}

void ReplaySession::attach(Task& task, const user_regs_struct& entry) {
  if (!current_.mapping || !current_.mapping->object) {
    return;
  }
  constexpr std::uint64_t kReadOnly = 010000; // SHM_RDONLY
  const bool writable = (entry.rdx & kReadOnly) == 0;
  const std::uint64_t protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
  map_object(task, entry.rsp,
             {static_cast<std::uint64_t>(current_.result), current_.mapping->length, protection,
              MAP_SHARED | MAP_FIXED, current_.mapping->offset},
             own_object(*current_.mapping->object), writable);
}

void ReplaySession::detach(Task& task, const trace::SystemCall& call) {
  for (const process::ProcMapping& mapping : process::read_mappings(task.tracee.tid())) {
    if (mapping.start == call[0]) {
      InjectedCalls calls(task.tracee, site(task));
      calls.require("unmapping", SYS_munmap, mapping.start, mapping.length());
      return;
    }
  }
}

void ReplaySession::move(Task& task, const trace::SystemCall& call) {
  InjectedCalls calls(task.tracee, site(task));
  if (failed(current_.result)) {
    // With a fixed address, what lay there is unmapped first, also by a call that fails then.
    if ((call[3] & MREMAP_FIXED) != 0) {
      require_same(call, calls.call_with(call.number, call.arguments));
    }
    return;
  }
  const auto to = static_cast<std::uint64_t>(current_.result);
  const std::uint64_t kept = to == call[0] ? 0 : MREMAP_MAYMOVE | MREMAP_FIXED;
  const std::uint64_t flags = kept | (kept != 0 ? call[3] & MREMAP_DONTUNMAP : 0);
  // What the kernel had joined while recording may be several mappings here, or the other way
  // round, and many kernels move one at a time.
  const std::uint64_t length = (call[1] + kPage - 1) & ~(kPage - 1);
  const std::uint64_t wanted = (call[2] + kPage - 1) & ~(kPage - 1);
  std::vector<process::ProcMapping> pieces;
  for (process::ProcMapping& mapping : process::read_mappings(task.tracee.tid())) {
    if (mapping.start < call[0] + length && mapping.end > call[0]) {
      pieces.push_back(std::move(mapping));
    }
  }
  if (pieces.size() < 2) {
    require_same(call,
                 calls.call(SYS_mremap, call[0], call[1], call[2], flags, kept != 0 ? to : 0));
    return;
  }
  if (wanted < length) {
    calls.require("shortening a mapping", SYS_munmap, call[0] + wanted, length - wanted);
  }
  for (const process::ProcMapping& piece : pieces) {
    const std::uint64_t from = std::max(piece.start, call[0]);
    const std::uint64_t end = std::min(piece.end, call[0] + std::min(length, wanted));
    const std::uint64_t offset = from - call[0];
    const bool last = end == call[0] + length;
    if (from < end && (kept != 0 || (last && wanted > length))) {
      calls.require("moving a part of a mapping", SYS_mremap, from, end - from,
                    last ? wanted - offset : end - from, flags, kept != 0 ? to + offset : 0);
    }
  }
}

// Also where the call met a hole: it has had its effect on what lies before and beyond it.
void ReplaySession::advise(Task& task, const trace::SystemCall& call) {
  const std::uint64_t advice = call[2] & 0xffffffff;
  InjectedCalls calls(task.tracee, site(task));
  if (advice == kPopulateWrite) { // pages that are the program's own no longer follow their file
    calls.call(SYS_madvise, call[0], call[1], advice);
  } else if (has_lasting_effect(advice)) {
    require_same(call, calls.call(SYS_madvise, call[0], call[1],
                                  advice == MADV_FREE ? MADV_DONTNEED : advice));
  }
}

// Such advice is allowed for the process itself only.
void ReplaySession::advise_list(Task& task, const trace::SystemCall& call) {
  const std::uint64_t advice = call[3] & 0xffffffff;
  if (!has_lasting_effect(advice)) {
    return;
  }
  std::vector<CallRange> ranges;
  buffer_ranges(task.memory, call[1], call[2], static_cast<std::uint64_t>(current_.result), ranges);
  InjectedCalls calls(task.tracee, site(task));
  for (const CallRange& range : ranges) {
    calls.require("advising", SYS_madvise, range.address, range.length,
                  advice == MADV_FREE ? MADV_DONTNEED : advice);
  }
}

// How far the stack grows is the kernel's own business.
void ReplaySession::set_stack_limit(Task& task, const trace::SystemCall& call) {
  const bool by_pid = call.number == SYS_prlimit64;
  const std::uint64_t resource = by_pid ? call[1] : call[0];
  const std::uint64_t address = by_pid ? call[2] : call[1];
  if (resource != RLIMIT_STACK || address == 0 ||
      (by_pid && call[0] != 0 && static_cast<pid_t>(call[0]) != task_state(current_.task).pid)) {
    return;
  }
  auto limit = task.memory.read_value<rlimit>(address);
  rlimit own{};
  if (::prlimit(task.pid, RLIMIT_STACK, nullptr, &own) == 0) {
    limit.rlim_max = own.rlim_max;
    limit.rlim_cur = std::min(limit.rlim_cur, own.rlim_max);
    ::prlimit(task.pid, RLIMIT_STACK, &limit, nullptr);
  }
}

// What is readable becomes executable too; everything else is of no consequence to mappings that
// are made at recorded addresses.
void ReplaySession::set_personality(Task& task, const trace::SystemCall& call) {
  constexpr std::uint64_t kAsk = 0xffffffff;
  constexpr std::uint64_t kReadImpliesExec = 0x0400000; // linux/personality.h
  if ((call[0] & kAsk) == kAsk) {
    return;
  }
  InjectedCalls calls(task.tracee, site(task));
  const std::uint64_t own = calls.require("asking for the personality", SYS_personality, kAsk);
  calls.require("setting the personality", SYS_personality,
                (own & ~kReadImpliesExec) | (call[0] & kReadImpliesExec));
}

std::uint64_t ReplaySession::site(Task& task) {
  if (task.site == 0) {
    const std::optional<std::uint64_t> found = process::find_syscall_instruction(
        task.tracee.tid(), process::read_mappings(task.tracee.tid()));
    if (!found) {
      throw Error(ErrorCode::kInternal, "the program has no system-call instruction");
    }
    task.site = *found;
  }
  return task.site;
}

} // namespace rrpcp::replay
