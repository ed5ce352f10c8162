// Mappings of files and of shared objects, and what the objects hold.

#include "base/bytes.h"
#include "base/file.h"
#include "model/backing_file.h"
#include "process/page_scan.h"
#include "process/proc_maps.h"
#include "replay/engine/behind_end.h"
#include "replay/engine/injected_calls.h"
#include "replay/engine/replay_session.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rrpcp::replay {

namespace {

constexpr std::uint64_t kMapFixedNoReplace = 0x100000; // linux/mman.h, newer than some headers

std::string_view text_of(capnp::Data::Reader bytes) {
  return {reinterpret_cast<const char*>(bytes.begin()), bytes.size()};
}

} // namespace

int ReplaySession::object(std::uint32_t number) const {
  auto found = objects_.find(number);
  if (found == objects_.end()) {
    throw Error(ErrorCode::kInvalidArgument, "there is no shared object " + std::to_string(number));
  }
  return found->second.get();
}

int ReplaySession::own_object(std::uint32_t number) {
  ScopedFd& object = objects_[number];
  if (!object) {
    object.reset(::memfd_create(("pcp-rr:" + std::to_string(number)).c_str(), MFD_CLOEXEC));
    if (!object) {
      throw system_error(errno, "cannot create a memory file");
    }
    state_.objects.push_back({number, 0, {}});
  }
  return object.get();
}

void ReplaySession::write_shared() {
  for (const trace::EventData::Shared& write : current_.shared) {
    const int fd = own_object(write.object);
    ObjectState* state = state_.find_object(write.object);
    if (state->size != write.size) {
      if (::ftruncate(fd, static_cast<off_t>(write.size)) != 0) {
        throw system_error(errno, "cannot resize a shared object");
      }
      state->size = write.size;
    }
    if (write.cleared != 0 &&
        ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                    static_cast<off_t>(write.offset), static_cast<off_t>(write.cleared)) != 0) {
      throw system_error(errno, "cannot clear a part of a shared object");
    }
    std::uint64_t offset = write.offset;
    visit_data(write.data, [&](std::span<const std::byte> bytes) {
      const std::uint64_t within =
          std::min<std::uint64_t>(write.size - std::min(write.size, offset), bytes.size());
      write_at(fd, bytes.first(within), offset, "a shared object");
      write_behind_end(fd, write.size, bytes.subspan(within), offset + within);
      offset += bytes.size();
    });
    state_.bytes_written += write.data.length;
  }
}

void ReplaySession::map(Task& task, const user_regs_struct& entry) {
  const trace::SystemCall call(entry);
  constexpr std::uint64_t kDropped = MAP_POPULATE | MAP_LOCKED | MAP_HUGETLB | MAP_32BIT |
                                     kMapFixedNoReplace | MAP_SYNC | (std::uint64_t{63} << 26);
  const auto address = static_cast<std::uint64_t>(current_.result);
  std::uint64_t flags = (call[3] & ~(kDropped | MAP_TYPE)) | MAP_FIXED;
  const bool shared = (call[3] & MAP_TYPE) != MAP_PRIVATE;
  flags |= shared ? MAP_SHARED : MAP_PRIVATE;
  if (!current_.mapping) {
    InjectedCalls calls(task.tracee, site(task));
    calls.require("mapping memory", SYS_mmap, address, call[1], call[2], flags | MAP_ANONYMOUS,
                  ~std::uint64_t{0}, 0);
    return;
  }
  if (current_.mapping->object) {
    ObjectState* state = nullptr;
    const int fd = own_object(*current_.mapping->object);
    state = state_.find_object(*current_.mapping->object);
    state->path = current_.mapping->path;
    map_object(task, entry.rsp, {address, call[1], call[2], flags, current_.mapping->offset}, fd,
               shared && !current_.mapping->read_only);
    return;
  }
  const std::string& name = current_.mapping->file;
  ScopedFd& file = files_[name];
  if (!file) {
    const std::string path = directory_ + "/" + name;
    file.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) {
      throw Error(ErrorCode::kBackingFile, "cannot open a file that the trace keeps")
          .with_errno(errno)
          .in_file(path);
    }
    for (schema::TraceFile::Reader kept : trace_.files()) {
      if (text_of(kept.getStored().getPath()) == name) {
        verify_identity(file.get(), path, kept.getStored());
      }
    }
  }
  map_object(task, entry.rsp, {address, call[1], call[2], flags, current_.mapping->offset},
             file.get(), false);
}

// Maps our descriptor `fd` in the task, which opens it by way of /proc. `stack`: where its memory
// can be written.
void ReplaySession::map_object(Task& task, std::uint64_t stack, const Wanted& wanted, int fd,
                               bool writable) {
  // The path lies at the start of the page of the stack pointer for a moment.
  const std::string path = "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(fd);
  const std::uint64_t page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t place = stack & ~(page - 1);
  std::vector<std::byte> before(path.size() + 1);
  task.memory.read(place, before);
  task.memory.write(place, std::as_bytes(std::span(path.c_str(), path.size() + 1)));
  InjectedCalls calls(task.tracee, site(task));
  const std::int64_t opened =
      calls.call(SYS_openat, AT_FDCWD, place, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC, 0);
  task.memory.write(place, before);
  calls.check("opening a mapped file", opened);
  const std::int64_t mapped = calls.call(SYS_mmap, wanted.address, wanted.length, wanted.protection,
                                         wanted.flags, opened, wanted.offset);
  calls.require("closing a mapped file", SYS_close, opened);
  calls.check("mapping a file", mapped);
}

// Lets mappings of kept files show the contents of objects, but for the pages that the program has
// written to.
void ReplaySession::follow_objects() {
  for (const trace::EventData::Followed& followed : current_.followed) {
    Task& owner = task(followed.task);
    const user_regs_struct registers = owner.tracee.registers();
    const std::uint64_t end = followed.address + followed.length;
    process::PageScanner scanner(owner.tracee.tid());
    for (const process::ProcMapping& mapping : process::read_mappings(owner.tracee.tid())) {
      const std::uint64_t from = std::max(mapping.start, followed.address);
      const std::uint64_t to = std::min(mapping.end, end);
      if (from >= to || mapping.shared) {
        continue;
      }
      // (Else of a small file whose contents were memory: the process has written to none of it.)
      const bool of_file = mapping.inode != 0;
      std::vector<std::pair<std::uint64_t, std::vector<std::byte>>> own_pages;
      // What lies behind the file's end is nobody's any more: a file that gets shorter takes the
      // pages with it, also those that a process has written to.
      const int object = own_object(followed.object);
      const std::uint64_t size = align_up(state_.find_object(followed.object)->size, kPage);
      const std::uint64_t shown = size - std::min(size, followed.offset);
      scanner.scan(from, to, [&](const process::TouchedRange& found) {
        process::TouchedRange range = found;
        range.end = std::min(range.end, followed.address + shown);
        if (!range.file && of_file && range.start < range.end) {
          std::vector<std::byte> bytes(range.end - range.start);
          owner.memory.read(range.start, bytes);
          own_pages.emplace_back(range.start, std::move(bytes));
        }
      });
      map_object(owner, registers.rsp,
                 {from, to - from, mapping.protection, MAP_PRIVATE | MAP_FIXED,
                  followed.offset + (from - followed.address)},
                 object, false);
      for (const auto& [address, bytes] : own_pages) {
        owner.memory.write(address, bytes);
      }
    }
    owner.tracee.set_registers(registers);
  }
}

} // namespace rrpcp::replay
