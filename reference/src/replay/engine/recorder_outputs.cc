// What a system call has changed: in memory, in mappings, in shared objects.

#include "base/scoped_fd.h"
#include "process/proc_file.h"
#include "process/proc_maps.h"
#include "replay/engine/call_outputs.h"
#include "replay/engine/fault_action.h"
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

namespace rrpcp::replay {

namespace {

std::string strip(std::string path) {
  constexpr std::string_view kDeleted = " (deleted)";
  if (path.ends_with(kDeleted)) {
    path.resize(path.size() - kDeleted.size());
  }
  return path;
}

} // namespace

void Recorder::record_outputs(RecordedTask& task, std::int64_t result) {
  const SystemCall& call = task.call;
  EventData& event = writer_->event();
  switch (call.number) {
  case SYS_rt_sigreturn: {
    const std::optional<std::vector<std::byte>> xstate = task.tracee.register_set(kNoteXstate);
    if (xstate) {
      event.extended_registers = event.append(*xstate);
    }
    note_mask(task);
    return;
  }
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
    }
    return;
  case SYS_shmat:
    if (result >= 0) {
      record_segment(task, static_cast<std::uint64_t>(result));
    }
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
  for (const OutputRange& range : ranges_) {
    writer_->add_memory(task.memory, range.address, range.length, event.memory);
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
    for (const OutputRange& range : ranges_) {
      event.output_ranges.push_back({range.address, range.length});
    }
  }
  if (task.written_object && result >= 0) {
    record_object_write(task, result);
  }
}

std::uint32_t Recorder::object_number(const struct stat& status) {
  const auto next = static_cast<std::uint32_t>(objects_.size()) + 1;
  return objects_.try_emplace({status.st_dev, status.st_ino}, next).first->second;
}

void Recorder::record_mapping(RecordedTask& task, std::uint64_t address) {
  const SystemCall& call = task.call;
  const std::string link = proc_path(task.pid, "fd/" + std::to_string(static_cast<int>(call[4])));
  ScopedFd file(::open(link.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status;
  if (!file || ::fstat(file.get(), &status) != 0) {
    throw system_error(errno, "cannot open a file that is mapped at " + std::to_string(address))
        .in_file(link);
  }
  if (S_ISCHR(status.st_mode)) {
    return; // /dev/zero is anonymous memory
  }
  EventData::Mapping& mapping = writer_->event().mapping.emplace();
  mapping.offset = call[5];
  mapping.length = (call[1] + 4095) & ~std::uint64_t{4095};
  mapping.path = strip(try_read_link(link).value_or(""));
  if ((call[3] & MAP_TYPE) == MAP_PRIVATE) {
    mapping.file = writer_->keep_file(file.get(), mapping.path);
  } else {
    mapping.object = object_number(status);
    record_object(*mapping.object, file.get(), mapping.offset, mapping.length);
  }
}

// What an object holds in a range.
void Recorder::record_object(std::uint32_t number, int fd, std::uint64_t offset,
                             std::uint64_t length) {
  struct stat status;
  if (::fstat(fd, &status) != 0) {
    throw system_error(errno, "cannot examine a mapped file");
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);
  const std::uint64_t end = std::min(offset + length, size);
  EventData& event = writer_->event();
  ByteRange range;
  const std::uint64_t wanted = end > offset ? end - offset : 0;
  const std::span<std::byte> room = event.append(wanted, range);
  std::size_t done = 0;
  while (done < wanted) {
    const ssize_t n =
        ::pread(fd, room.data() + done, wanted - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      break;
    }
    done += static_cast<std::size_t>(n);
  }
  event.shrink(range, wanted - done);
  event.shared.push_back({number, size, offset, range});
}

void Recorder::record_object_write(RecordedTask& task, std::int64_t result) {
  const SystemCall& call = task.call;
  const std::string fd = std::to_string(static_cast<int>(call[0]));
  ScopedFd file(::open(proc_path(task.pid, "fd/" + fd).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) {
    throw system_error(errno, "cannot read a file that is mapped shared")
        .in_file(proc_path(task.pid, "fd/" + fd));
  }
  std::uint64_t offset = 0;
  auto length = static_cast<std::uint64_t>(result);
  switch (call.number) {
  case SYS_pwrite64:
  case SYS_pwritev:
    offset = call[3];
    break;
  case SYS_ftruncate:
  case SYS_fallocate:
    length = ~std::uint64_t{0} >> 1; // whatever it did
    break;
  default: {
    const std::optional<std::string> text = try_read_file(proc_path(task.pid, "fdinfo/" + fd));
    std::string_view rest = text ? std::string_view(*text) : std::string_view();
    std::string_view line = cut_field(rest, '\n');
    cut_word(line);
    offset = parse_number(cut_word(line), 10, "file position") - length;
    break;
  }
  }
  record_object(*task.written_object, file.get(), offset, length);
}

void Recorder::record_segment(RecordedTask& task, std::uint64_t address) {
  for (const ProcMapping& found : read_mappings(task.tid)) {
    if (found.start == address) {
      struct stat status {};
      status.st_dev = found.device;
      status.st_ino = found.inode;
      EventData& event = writer_->event();
      EventData::Mapping& mapping = event.mapping.emplace();
      mapping.object = object_number(status);
      mapping.length = found.length();
      mapping.path = strip(found.name);
      ByteRange range;
      const std::span<std::byte> room = event.append(found.length(), range);
      task.memory.read(address, room);
      event.shared.push_back({*mapping.object, found.length(), 0, range});
      return;
    }
  }
}

} // namespace rrpcp::replay
