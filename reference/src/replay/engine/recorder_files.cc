// Files that tasks have mapped: what they hold, and what calls change of them.

#include "base/bytes.h"
#include "base/page.h"
#include "base/scoped_fd.h"
#include "process/page_scan.h"
#include "process/proc_file.h"
#include "process/proc_maps.h"
#include "replay/engine/behind_end.h"
#include "replay/engine/call_memory.h"
#include "replay/engine/recorder.h"
#include "rrpcp/error.h"
#include "trace/call_table.h"
#include "trace/event.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <optional>
#include <set>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rrpcp::replay {

namespace {

constexpr std::uint64_t kReadAtOnce = 1 << 20; // bytes that are read at once
constexpr std::uint64_t kAppend = 0x10;        // RWF_APPEND of linux/fs.h

// (By the task's own id: what a leader that has ended had is gone.)
std::string descriptor_path(const RecordedTask& task, std::uint64_t fd) {
  return process::proc_path(task.tid, "fd/" + std::to_string(static_cast<int>(fd)));
}

// Opens what is mapped, whatever its name says today. Empty where that is not allowed.
ScopedFd open_mapping(pid_t pid, const process::ProcMapping& mapping) {
  char name[64];
  std::snprintf(name, sizeof name, "map_files/%llx-%llx",
                static_cast<unsigned long long>(mapping.start),
                static_cast<unsigned long long>(mapping.end));
  return ScopedFd(::open(process::proc_path(pid, name).c_str(), O_RDONLY | O_CLOEXEC));
}

std::optional<process::ProcMapping> mapping_at(pid_t tid, std::uint64_t address) {
  std::vector<process::ProcMapping> found = process::read_mappings(tid, address, address + 1);
  return found.empty() ? std::nullopt : std::optional(std::move(found.front()));
}

// Whether a file is mostly holes: keeping it with the trace would mean to read terabytes of zeros,
// as an object it costs what it holds.
bool is_hollow(const struct stat& status) {
  constexpr off_t kLarge = 16 << 20;
  constexpr off_t kBlock = 512; // of st_blocks
  return status.st_size > kLarge && status.st_blocks * kBlock < status.st_size / 2;
}

struct DescriptorState {
  std::uint64_t position = 0;
  std::uint64_t flags = 0; // O_* of open(2)
};

DescriptorState descriptor_state(const RecordedTask& task, std::uint64_t fd) {
  DescriptorState state;
  const std::optional<std::string> text = process::try_read_file(
      process::proc_path(task.tid, "fdinfo/" + std::to_string(static_cast<int>(fd))));
  std::string_view rest = text ? std::string_view(*text) : std::string_view();
  while (!rest.empty()) {
    std::string_view line = process::cut_field(rest, '\n');
    const std::string_view name = process::cut_word(line);
    if (name == "pos:") {
      state.position = process::parse_number(process::cut_word(line), 10, "file position");
    } else if (name == "flags:") {
      state.flags = process::parse_number(process::cut_word(line), 8, "flags of a descriptor");
    }
  }
  return state;
}

// Where the file that the call may have changed can be found; empty: it has changed none.
std::string changed_path(const RecordedTask& task, const trace::FileChange& change,
                         std::int64_t result) {
  switch (change.kind) {
  case trace::FileChange::Kind::kNone:
    return "";
  case trace::FileChange::Kind::kWritten:
    return result > 0 ? descriptor_path(task, task.call[change.descriptor]) : "";
  case trace::FileChange::Kind::kAnywhere:
  case trace::FileChange::Kind::kSize:
    return descriptor_path(task, task.call[change.descriptor]);
  case trace::FileChange::Kind::kSizeOfResult:
    return change.at == trace::FileChange::kAlways || (task.call[change.at] & O_TRUNC) != 0
               ? descriptor_path(task, static_cast<std::uint64_t>(result))
               : "";
  case trace::FileChange::Kind::kSizeOfPath: {
    std::vector<CallRange> texts;
    process::RemoteMemory memory(task.tid);
    call_inputs(task.call, memory, texts);
    if (texts.empty()) {
      return "";
    }
    std::string path(texts.front().length, '\0');
    memory.read(texts.front().address, std::as_writable_bytes(std::span(path)));
    path.resize(std::min(path.find('\0'), path.size()));
    return path.starts_with('/') ? process::proc_path(task.tid, "root") + path
                                 : process::proc_path(task.tid, "cwd/") + path;
  }
  }
  return "";
}

// Where the bytes lie that the call has written.
std::uint64_t written_offset(const RecordedTask& task, const trace::FileChange& change,
                             std::uint64_t written, std::uint64_t size) {
  const trace::SystemCall& call = task.call;
  const DescriptorState state = descriptor_state(task, call[change.descriptor]);
  const bool appended =
      (state.flags & O_APPEND) != 0 || (call.number == SYS_pwritev2 && (call[5] & kAppend) != 0);
  switch (change.place) {
  case trace::FileChange::Place::kPosition:
    break;
  case trace::FileChange::Place::kArgument:
    if (call[change.at] != ~std::uint64_t{0}) {
      return appended ? size - written : call[change.at];
    }
    break;
  case trace::FileChange::Place::kPointer:
    if (call[change.at] != 0) {
      return process::RemoteMemory(task.tid).read_value<std::uint64_t>(call[change.at]) - written;
    }
    break;
  }
  return state.position - written;
}

// Whether a mapping of a file of `size` bytes has something behind their end, in the last page,
// where another mapping has written to it.
bool shows_behind_end(RecordedTask& task, std::uint64_t address, std::uint64_t offset,
                      std::uint64_t length, std::uint64_t size) {
  const std::uint64_t end = align_up(size, kPage);
  if (size == end || size < offset || end - offset > length) {
    return false;
  }
  std::array<std::byte, kPage> room;
  std::span<std::byte> bytes = std::span(room).first(end - size);
  bytes = bytes.first(task.memory.read_some(address + (size - offset), bytes));
  return std::any_of(bytes.begin(), bytes.end(),
                     [](std::byte byte) { return byte != std::byte{0}; });
}

} // namespace

void Recorder::record_mapping(RecordedTask& task, std::uint64_t address) {
  const trace::SystemCall& call = task.call;
  const std::string link = descriptor_path(task, call[4]);
  ScopedFd file(::open(link.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status;
  if (!file || ::fstat(file.get(), &status) != 0) {
    throw system_error(errno, "cannot open a file that is mapped at " + std::to_string(address))
        .in_file(link);
  }
  if (S_ISCHR(status.st_mode)) {
    return; // /dev/zero is anonymous memory
  }
  const bool shared = (call[3] & MAP_TYPE) != MAP_PRIVATE;
  const std::string path = process::without_deleted(process::try_read_link(link).value_or(""));
  forbid_buffered_writes(status.st_dev, status.st_ino);
  MappedFile* known = files_.find(status);
  MappedFile& mapped =
      known != nullptr
          ? *known
          : files_.add(status, mapping_at(task.tid, address).value_or(process::ProcMapping()));
  trace::EventData& event = writer_->event();
  trace::EventData::Mapping& mapping = event.mapping.emplace();
  mapping.offset = call[5];
  mapping.length = (call[1] + kPage - 1) & ~(kPage - 1);
  mapping.path = path;
  if (!shared && !mapped.object && !is_hollow(status) &&
      !shows_behind_end(task, address, mapping.offset, mapping.length,
                        static_cast<std::uint64_t>(status.st_size))) {
    mapping.file = keep_code(file.get(), path);
    return;
  }
  mapping.read_only = (descriptor_state(task, call[4]).flags & O_ACCMODE) == O_RDONLY;
  if (!mapped.object) {
    const int fd = file.get();
    if (follow(mapped, fd)) {
      mapping.object = mapped.object;
      return;
    }
    files_.make_object(mapped, std::move(file));
    mapping.object = mapped.object;
    record_object(mapped, fd, mapping.offset, mapping.length, true);
    return;
  }
  mapping.object = mapped.object;
  record_object(mapped, file.get(), mapping.offset, mapping.length, false);
}

// Pages of a private mapping of a file that are its process's own. They need not be in a replay,
// where a write makes them so: the kernel also copies what it is told to have ready for writing.
void Recorder::record_own_pages(RecordedTask& owner, std::uint64_t start, std::uint64_t end) {
  std::vector<trace::EventData::Write>& list = writer_->event().memory;
  process::PageScanner(owner.tid).scan(start, end, [&](const process::TouchedRange& range) {
    if (!range.file) {
      const std::size_t before = list.size();
      writer_->add_memory(owner.memory, range.start, range.end - range.start, list);
      for (std::size_t i = before; i < list.size(); ++i) {
        list[i].task = owner.tid;
      }
    }
  });
}

// The same of objects, after a call that tells the kernel so.
void Recorder::record_populated(RecordedTask& task, std::uint64_t start, std::uint64_t length) {
  if (!files_.have_objects()) {
    return;
  }
  const std::uint64_t end = align_up(start + length, kPage);
  for (const process::ProcMapping& mapping : process::read_mappings(task.tid, start, end)) {
    if (!mapping.shared && (mapping.protection & PROT_WRITE) != 0 && files_.find(mapping)) {
      record_own_pages(task, std::max(mapping.start, start), std::min(mapping.end, end));
    }
  }
}

// Where private mappings of a file exist: makes it an object, has them show that from now on, and
// records all of it. `fd`: open for reading.
bool Recorder::follow(MappedFile& file, int fd) {
  trace::EventData& event = writer_->event();
  const std::size_t before = event.followed.size();
  std::set<pid_t> seen;
  for (const auto& [tid, task] : scheduler_.tasks()) {
    if (!task->tracee.attached() || task->end_recorded || !seen.insert(task->pid).second) {
      continue;
    }
    try {
      for (const process::ProcMapping& mapping : process::read_mappings(tid)) {
        if (!mapping.shared && file.is_mapped_by(mapping)) {
          event.followed.push_back({tid, mapping.start, mapping.length(), 0, mapping.offset});
          if ((mapping.protection & PROT_EXEC) == 0) { // where the recorder writes, too
            record_own_pages(*task, mapping.start, mapping.end);
          }
        }
      }
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kProcessGone) {
        throw;
      }
    }
  }
  if (event.followed.size() == before) {
    return false;
  }
  files_.make_object(file, ScopedFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)));
  for (std::size_t i = before; i < event.followed.size(); ++i) {
    event.followed[i].object = *file.object;
  }
  record_object(file, fd, 0, ~std::uint64_t{0} >> 1, true);
  return true;
}

// What an object holds in a range, holes as such: a file of terabytes may have a page. Of a fresh
// object, holes need no word.
void Recorder::record_object(MappedFile& file, int fd, std::uint64_t offset, std::uint64_t length,
                             bool fresh) {
  const std::uint32_t number = *file.object;
  trace::EventData& event = writer_->event();
  struct stat status;
  if (::fstat(fd, &status) != 0) {
    throw system_error(errno, "cannot examine a mapped file");
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);
  const std::uint64_t end = offset < size ? offset + std::min(length, size - offset) : offset;
  event.shared.push_back({number, size, offset, {}, 0});
  // (What was behind the former end is in the file now, where it has become longer.)
  const std::uint64_t former = fresh ? size : std::min(file.size, size);
  file.size = size;
  if (former / kPage != size / kPage && (former < offset || align_up(former, kPage) > end)) {
    record_behind_end(file, fd, former, fresh);
  }
  record_behind_end(file, fd, former / kPage == size / kPage ? former : size, fresh);
  for (std::uint64_t at = offset; at < end;) {
    const off_t data = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
    const std::uint64_t begin = data >= 0        ? std::min<std::uint64_t>(data, end)
                                : errno == ENXIO ? end
                                                 : at;
    if (begin > at && !fresh) {
      event.shared.push_back({number, size, at, {}, begin - at});
    }
    const off_t hole = begin < end ? ::lseek(fd, static_cast<off_t>(begin), SEEK_HOLE) : -1;
    const std::uint64_t stop = hole >= 0 ? std::min<std::uint64_t>(hole, end) : end;
    for (at = begin; at < stop;) {
      trace::ByteRange range;
      const std::span<std::byte> room = event.append(std::min(kReadAtOnce, stop - at), range);
      ssize_t n = 0;
      do {
        n = ::pread(fd, room.data(), room.size(), static_cast<off_t>(at));
      } while (n < 0 && errno == EINTR);
      const std::uint64_t read = n > 0 ? static_cast<std::uint64_t>(n) : 0;
      event.shrink(range, room.size() - read);
      if (read == 0) {
        return; // it has become shorter meanwhile
      }
      event.shared.push_back({number, size, at, range, 0});
      at += read;
    }
    at = stop;
  }
}

// What mappings show behind byte `from` in its page, where a file ends or has ended: a mapping can
// write there, and a file system may clear it when the file becomes longer or is written to the
// disk.
void Recorder::record_behind_end(const MappedFile& file, int fd, std::uint64_t from, bool fresh) {
  if (from % kPage == 0) {
    return;
  }
  trace::EventData& event = writer_->event();
  if (!fresh) {
    event.shared.push_back({*file.object, file.size, from, {}, kPage - from % kPage});
  }
  const std::vector<std::byte> bytes = read_to_end_of_page(fd, from);
  const auto is_set = [](std::byte byte) { return byte != std::byte{0}; };
  const auto first = std::find_if(bytes.begin(), bytes.end(), is_set);
  const auto last = std::find_if(bytes.rbegin(), bytes.rend(), is_set).base();
  if (first < last) {
    event.shared.push_back({*file.object, file.size,
                            from + static_cast<std::uint64_t>(first - bytes.begin()),
                            event.append(std::span(first, last)), 0});
  }
}

// By a call that writes to the disk what mappings or all files have changed.
void Recorder::record_synced(const RecordedTask& task) {
  const trace::SystemCall& call = task.call;
  std::vector<process::ProcMapping> mappings;
  if (call.number == SYS_msync) {
    mappings = process::read_mappings(task.tid, call[0], call[0] + call[1]);
  }
  files_.visit_objects([&](MappedFile& file) {
    if (file.handle && (call.number != SYS_msync ||
                        std::any_of(mappings.begin(), mappings.end(),
                                    [&](const auto& one) { return file.is_mapped_by(one); }))) {
      record_object(file, file.handle.get(), 0, 0, false);
    }
  });
}

// What a call has changed of a file that is mapped, or of a process by way of /proc/PID/mem.
void Recorder::record_file_change(RecordedTask& task, std::int64_t result) {
  const trace::FileChange& change = trace::call_row(task.call).file;
  if (result < 0 || change.kind == trace::FileChange::Kind::kNone) {
    return;
  }
  const std::string path = changed_path(task, change, result);
  struct stat status;
  if (path.empty() || ::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) {
    return;
  }
  const auto written = static_cast<std::uint64_t>(result);
  if (change.kind == trace::FileChange::Kind::kWritten && status.st_size == 0) {
    if (RecordedTask* owner = owner_of_memory(path)) {
      record_foreign_write(task, *owner, written_offset(task, change, written, 0), written);
    }
    return;
  }
  MappedFile* file = files_.find(status);
  if (file == nullptr) {
    return;
  }
  const ScopedFd opened(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const int fd = opened ? opened.get() : file->handle.get();
  if (fd < 0) {
    throw system_error(errno, "cannot read a file that is mapped").in_file(path);
  }
  if (!file->object) {
    if (!follow(*file, fd)) {
      files_.forget(status);
    }
    return;
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);
  switch (change.kind) {
  case trace::FileChange::Kind::kWritten:
    record_object(*file, fd, written_offset(task, change, written, size), written, false);
    return;
  case trace::FileChange::Kind::kAnywhere:
    record_object(*file, fd, 0, size, false);
    return;
  default:
    record_object(*file, fd, 0, 0, false);
    return;
  }
}

// The recorded process whose /proc/PID/mem lies at the path of a descriptor.
RecordedTask* Recorder::owner_of_memory(const std::string& path) {
  const std::string name = process::try_read_link(path).value_or("");
  std::string_view rest = name;
  constexpr std::string_view kProc = "/proc/";
  constexpr std::string_view kMemory = "/mem";
  if (!rest.starts_with(kProc) || !rest.ends_with(kMemory)) {
    return nullptr;
  }
  rest.remove_prefix(kProc.size());
  rest.remove_suffix(kMemory.size());
  rest.remove_prefix(rest.find_last_of('/') + 1); // of task/TID; npos + 1 is 0
  if (rest.empty() || rest.find_first_not_of("0123456789") != std::string_view::npos) {
    return nullptr;
  }
  return scheduler_.find(static_cast<pid_t>(process::parse_number(rest, 10, "process id")));
}

// What `task` has written into the memory of `owner`, which may be its own process.
void Recorder::record_foreign_write(const RecordedTask& task, RecordedTask& owner,
                                    std::uint64_t address, std::uint64_t length) {
  std::vector<trace::EventData::Write>& list = writer_->event().memory;
  const std::size_t before = list.size();
  follow_range(owner, address, length);
  writer_->add_memory(owner.memory, address, length, list);
  if (owner.pid != task.pid) {
    for (std::size_t i = before; i < list.size(); ++i) {
      list[i].task = owner.tid;
    }
  }
}

// process_vm_writev(2).
void Recorder::record_process_write(RecordedTask& task, std::int64_t result) {
  const auto target = static_cast<pid_t>(task.call[0]);
  RecordedTask* owner = scheduler_.find(target);
  if (result <= 0 || owner == nullptr) {
    return; // into a process outside of the recording
  }
  std::vector<CallRange> ranges;
  buffer_ranges(task.memory, task.call[3], task.call[4], static_cast<std::uint64_t>(result),
                ranges);
  for (const CallRange& range : ranges) {
    record_foreign_write(task, *owner, range.address, range.length);
  }
}

// What a shared mapping shows that mremap(2) has made longer.
void Recorder::record_growth(RecordedTask& task, std::uint64_t address) {
  const trace::SystemCall& call = task.call;
  if (call[2] <= call[1]) {
    return;
  }
  const std::optional<process::ProcMapping> grown = mapping_at(task.tid, address);
  MappedFile* file = grown && grown->shared ? files_.find(*grown) : nullptr;
  if (file == nullptr) {
    return;
  }
  ScopedFd opened = open_mapping(task.tid, *grown);
  const int fd = opened ? opened.get() : file->handle.get();
  if (fd < 0) {
    throw system_error(errno, "cannot read a file that is mapped").in_file(grown->name);
  }
  record_object(*file, fd, grown->offset + (address - grown->start), call[2], false);
}

void Recorder::record_segment(RecordedTask& task, std::uint64_t address) {
  const std::optional<process::ProcMapping> found = mapping_at(task.tid, address);
  if (!found) {
    return;
  }
  struct stat status {};
  status.st_dev = found->device;
  status.st_ino = found->inode;
  MappedFile& file = files_.add(status, *found);
  const bool fresh = !file.object;
  ScopedFd opened = open_mapping(task.tid, *found);
  if (fresh) {
    files_.make_object(file, ScopedFd());
  }
  trace::EventData& event = writer_->event();
  trace::EventData::Mapping& mapping = event.mapping.emplace();
  mapping.object = file.object;
  mapping.length = found->length();
  mapping.path = process::without_deleted(found->name);
  if (opened) {
    record_object(file, opened.get(), 0, found->length(), fresh);
    return;
  }
  file.size = found->length();
  for (std::uint64_t at = 0; at < found->length(); at += kReadAtOnce) {
    trace::ByteRange range;
    const std::span<std::byte> room =
        event.append(std::min(kReadAtOnce, found->length() - at), range);
    task.memory.read(address + at, room);
    if (fresh && std::all_of(room.begin(), room.end(),
                             [](std::byte byte) { return byte == std::byte{0}; })) {
      event.shrink(range, range.length);
    }
    event.shared.push_back({*file.object, found->length(), at, range, 0});
  }
}

} // namespace rrpcp::replay
