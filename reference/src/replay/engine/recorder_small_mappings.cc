// Private mappings of small files that were made without a stop: memory in a replay, until their
// file changes or they may be written to.

#include "base/bytes.h"
#include "base/page.h"
#include "process/proc_maps.h"
#include "replay/engine/recorder.h"
#include "rrpcp/error.h"
#include "trace/event.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <vector>

namespace rrpcp::replay {

// Of a call that has mapped a file without a stop. Where the file is an object of a replay's, the
// event is one of the object; its contents are still to be added. Else it has them as memory.
bool Recorder::show_object(const buffer::BufferedCall& call) {
  MappedFile* file = mapped_file(call);
  if (call.entry->number != SYS_mmap || file == nullptr || !file->object) {
    return false;
  }
  trace::EventData& event = writer_->event();
  trace::EventData::Mapping& mapping = event.mapping.emplace();
  mapping.object = file->object;
  mapping.length = align_up(call.entry->registers.rsi, kPage);
  mapping.path = file->path;
  mapping.read_only = true;
  event.shared.push_back({*file->object, call.file->size, 0, {}, 0});
  file->size = call.file->size;
  return true;
}

MappedFile* Recorder::mapped_file(const buffer::BufferedCall& call) {
  struct stat status {};
  status.st_dev = call.file->device;
  status.st_ino = call.file->inode;
  return files_.find(status);
}

// What such calls have mapped, and have not unmapped.
void Recorder::note_small_mapping(const buffer::BufferedCall& call, bool shown) {
  const buffer::CallEntry& entry = *call.entry;
  if (entry.number == SYS_munmap) {
    std::erase_if(small_mappings_, [&](const SmallMapping& mapping) {
      return mapping.address == entry.registers.rdi;
    });
  } else if (call.file != nullptr) {
    forbid_buffered_writes(call.file->device, call.file->inode);
    if (!shown) {
      small_mappings_.push_back(
          {static_cast<std::uint64_t>(entry.result), call.file->device, call.file->inode});
    }
  }
}

// A change of their files has to be seen from now on.
void Recorder::note_small_mappings(const RecordedTask& task) {
  if (small_mappings_.empty()) {
    return;
  }
  for (const process::ProcMapping& mapping : process::read_mappings(task.tid)) {
    for (const SmallMapping& small : small_mappings_) {
      if (mapping.contains(small.address)) {
        struct stat status {};
        status.st_dev = small.device;
        status.st_ino = small.inode;
        files_.add(status, mapping).as_memory = true;
        maps_as_memory_ = true;
      }
    }
  }
  small_mappings_.clear();
}

// Mappings that have been memory in a replay, and to which happens what makes a difference: they
// are mappings of the file from now on, but for the pages that their process writes to.
void Recorder::follow_range(const RecordedTask& task, std::uint64_t start, std::uint64_t length) {
  if (!maps_as_memory_ || length == 0) {
    return;
  }
  for (const process::ProcMapping& mapping :
       process::read_mappings(task.tid, start, start + length)) {
    if (mapping.shared || mapping.inode == 0) {
      continue;
    }
    if (MappedFile* file = files_.find_as_memory(mapping)) {
      follow_memory(task, mapping, *file);
    }
  }
}

// By a call that has just been made: they may be written to or executed, or their pages be given
// up.
void Recorder::follow_changed(const RecordedTask& task) {
  const trace::SystemCall& call = task.call;
  switch (call.number) {
  case SYS_mprotect:
  case SYS_pkey_mprotect:
    if ((call[2] & (PROT_WRITE | PROT_EXEC)) != 0) {
      follow_range(task, call[0], call[1]);
    }
    return;
  case SYS_madvise:
    follow_range(task, call[0], call[1]);
    return;
  case SYS_process_madvise: // of any process
    for (const auto& [tid, other] : scheduler_.tasks()) {
      if (other->tracee.attached() && !other->end_recorded) {
        follow_range(*other, 0, std::uint64_t{1} << 47);
      }
    }
    return;
  default:
    return;
  }
}

// One that mremap(2) has made longer, and moved to `address`: a replay maps the file where it was
// before the call, and moves it.
void Recorder::follow_moved(RecordedTask& task, std::uint64_t address) {
  const trace::SystemCall& call = task.call;
  if (!maps_as_memory_ || call[2] <= call[1]) {
    return;
  }
  std::vector<trace::EventData::Followed>& followed = writer_->event().followed;
  const std::size_t before = followed.size();
  for (const process::ProcMapping& mapping :
       process::read_mappings(task.tid, address, address + call[2])) {
    if (mapping.shared || mapping.inode == 0) {
      continue;
    }
    if (MappedFile* file = files_.find_as_memory(mapping)) {
      follow_memory(task, mapping, *file);
    }
  }
  for (std::size_t i = before; i < followed.size(); ++i) {
    trace::EventData::Followed& one = followed[i];
    if (scheduler_.find(one.task)->pid == task.pid && one.address - address < call[2]) {
      const std::uint64_t within = one.address - address;
      one.address = call[0] + within;
      one.length = std::min(one.length, align_up(call[1], kPage) - within);
    }
  }
}

void Recorder::follow_memory(const RecordedTask& task, const process::ProcMapping& mapping,
                             MappedFile& file) {
  // (Whoever may not open mappings opens names, which another file may have by now.)
  const ScopedFd opened = open_mapped(task, mapping);
  struct stat status {};
  if (!opened || ::fstat(opened.get(), &status) != 0 || files_.find(status) != &file) {
    throw Error(ErrorCode::kUnsupportedState,
                "a file that is mapped cannot be read: it has another name, or none")
        .in_file(mapping.name)
        .with_hint("record with --no-syscall-buffer");
  }
  follow(file, opened.get());
}

} // namespace rrpcp::replay
