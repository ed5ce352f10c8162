// What a system call has changed: in memory, in mappings, in shared objects.

#include "base/bytes.h"
#include "base/page.h"
#include "base/scoped_fd.h"
#include "process/page_scan.h"
#include "process/proc_file.h"
#include "process/proc_maps.h"
#include "replay/engine/call_memory.h"
#include "replay/engine/fault_action.h"
#include "replay/engine/memory_digests.h"
#include "replay/engine/recorder.h"
#include "rrpcp/error.h"
#include "trace/event.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <optional>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rrpcp::replay {

namespace {

constexpr std::uint64_t kAddressEnd = std::uint64_t{1} << 47; // of programs
constexpr std::uint64_t kPopulateWrite = 23;                  // MADV_POPULATE_WRITE

// Of what a call may have written that has failed on its way: what it can have written, which ends
// where there is no memory. The rest need not be writable in a replay, and pages of a file that
// nobody has written to are still the file's.
void keep_writable(pid_t tid, std::vector<CallRange>& ranges) {
  std::vector<CallRange> kept;
  process::PageScanner scanner(tid);
  for (const CallRange& range : ranges) {
    const std::uint64_t end = range.address + range.length;
    std::uint64_t at = range.address;
    for (const process::ProcMapping& mapping : process::read_mappings(tid, range.address, end)) {
      if (mapping.start > at) {
        break;
      }
      at = mapping.end;
      if ((mapping.protection & PROT_WRITE) == 0) {
        continue;
      }
      const std::uint64_t from = std::max(mapping.start, range.address);
      const std::uint64_t to = std::min(mapping.end, end);
      scanner.scan(from & ~(kPage - 1), align_up(to, kPage),
                   [&](const process::TouchedRange& touched) {
                     const std::uint64_t first = std::max(from, touched.start);
                     const std::uint64_t last = std::min(to, touched.end);
                     if ((mapping.shared || !touched.file) && first < last) {
                       kept.push_back({first, last - first});
                     }
                   });
    }
  }
  ranges = std::move(kept);
}

} // namespace

void Recorder::record_outputs(RecordedTask& task, std::int64_t result) {
  const trace::SystemCall& call = task.call;
  trace::EventData& event = writer_->event();
  switch (call.number) {
  case SYS_rt_sigreturn:
    note_extended_registers(task);
    note_mask(task);
    return;
  case SYS_rt_sigprocmask:
    note_mask(task);
    break;
  case SYS_rt_sigaction:
    if (FaultAction* action = task.fault_actions->of(static_cast<int>(call[0]));
        action != nullptr && result == 0 && call[1] != 0) {
      *action = task.memory.read_value<FaultAction>(call[1]);
    }
    break;
  case SYS_mmap:
    if (result >= 0 && (call[3] & MAP_ANONYMOUS) == 0) {
      record_mapping(task, static_cast<std::uint64_t>(result));
      record_populated(task, static_cast<std::uint64_t>(result), call[1]);
    }
    return;
  case SYS_mlock:
  case SYS_mlock2:
    record_populated(task, call[0], call[1]);
    return;
  case SYS_mlockall:
    record_populated(task, 0, kAddressEnd);
    return;
  case SYS_mprotect:
  case SYS_pkey_mprotect:
  case SYS_madvise:
  case SYS_process_madvise:
    follow_changed(task);
    if (call.number == SYS_madvise && call[2] == kPopulateWrite) {
      record_populated(task, call[0], call[1]);
    }
    break;
  case SYS_msync:
  case SYS_sync:
  case SYS_syncfs:
    record_synced(task);
    return;
  case SYS_shmat:
    if (result >= 0) {
      record_segment(task, static_cast<std::uint64_t>(result));
    }
    return;
  case SYS_mremap:
    if (result >= 0) {
      record_growth(task, static_cast<std::uint64_t>(result));
      follow_moved(task, static_cast<std::uint64_t>(result));
    }
    return;
  case SYS_process_vm_writev:
    record_process_write(task, result);
    return;
  case SYS_set_tid_address:
    task.clear_tid = call[0];
    return;
  case SYS_set_robust_list:
    if (result == 0) {
      task.robust_list = call[0];
    }
    return;
  default:
    break;
  }
  ranges_.clear();
  call_outputs(call.number == SYS_restart_syscall ? task.restarted : call, result, task.memory,
               ranges_);
  if (result == -EFAULT) {
    keep_writable(task.tid, ranges_);
  }
  for (const CallRange& range : ranges_) {
    writer_->add_memory(task.memory, range.address, range.length, event.memory);
  }
  for (const RequestEffects::Range& range : task.effects.memory) {
    if (range.tid == 0) {
      writer_->add_memory(task.memory, range.address, range.length, event.memory);
    } else if (RecordedTask* owner = scheduler_.find(range.tid)) {
      record_foreign_write(task, *owner, range.address, range.length);
    }
  }
  if (task.digests) {
    task.digests->visit_changes(task.tid, task.memory,
                                [&](std::uint64_t address, std::span<const std::byte> page) {
                                  event.memory.push_back({address, event.append(page)});
                                });
    task.digests.reset();
  }
  if (task.output != 0 && result > 0) {
    ranges_.clear();
    written_bytes(call, result, task.memory, ranges_);
    event.output = task.output;
    for (const CallRange& range : ranges_) {
      event.output_ranges.push_back({range.address, range.length});
    }
    event.output_digest = digest_.of_readable(task.memory, event.output_ranges);
  }
  record_file_change(task, result);
}

bool Recorder::digests_due(const RecordedTask& task) const {
  return options_.checksum_interval != 0 && writer_->next_event() >= *task.next_digest;
}

// Digests of the task's memory, where they are due.
void Recorder::record_digests(RecordedTask& task) {
  if (!digests_due(task)) {
    return;
  }
  // What calls that have not ended, or whose end was not looked at yet, may write.
  std::vector<trace::EventData::Range> changing;
  bool foreign = false;
  ranges_.clear();
  for (const auto& [tid, other] : scheduler_.tasks()) {
    if (other.get() == &task || other->state == RecordedTask::State::kReady ||
        (other->state == RecordedTask::State::kTraced && !other->in_call)) {
      continue;
    }
    if (other->replaced != task.replaced) {
      foreign = true;
      continue;
    }
    if (!other->in_call || !outputs_known(other->call)) {
      return; // anything: wait for a better event
    }
    call_outputs(other->call, -EFAULT, task.memory, ranges_);
    changing.push_back({other->clear_tid, sizeof(pid_t)});
  }
  for (const CallRange& range : ranges_) {
    changing.push_back({range.address, range.length});
  }
  if (foreign) {
    for (const process::ProcMapping& mapping : process::read_mappings(task.tid)) {
      if (mapping.shared) {
        changing.push_back({mapping.start, mapping.length()});
      }
    }
  }
  *task.next_digest = writer_->next_event() + options_.checksum_interval;
  trace::EventData& event = writer_->event();
  add_memory_digests(task.tid, task.memory, changing, event, task.made_code.get());
  std::uint64_t bytes = 0;
  for (const trace::EventData::Digests& run : event.memory_digests) {
    bytes += run.pages.length;
  }
  constexpr std::uint64_t kMost = 12 << 20; // of a message of at most 16 MiB: 6 GiB of memory
  if (bytes > kMost) {
    event.memory_digests.clear();
    notice_once("a process has too much memory for checksums; it gets none while that is so");
  }
}

} // namespace rrpcp::replay
