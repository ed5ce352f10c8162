#include "process/capture/write_watch.h"

#include "process/capture/mapping_kind.h"
#include "process/page_scan.h"
#include "process/proc_stat.h"
#include "rrpcp/error.h"
#include "rrpcp/process/memory_watch.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace rrpcp {

namespace process::capture {

namespace {

// linux/userfaultfd.h, which older system headers have without them: faults of the program alone
// (Linux 5.11; asynchronous protection hands nobody a fault of either kind, and every user may do
// that), and UFFD_FEATURE_WP_ASYNC (Linux 6.7).
constexpr std::uint64_t kUserModeOnly = 1;
constexpr std::uint64_t kAsynchronous = std::uint64_t{1} << 15;

std::string reason(const char* what, int error) {
  return std::string(what) + " (" + std::strerror(error) + ")";
}

} // namespace

bool WriteWatch::give_up(const std::string& why) {
  faults_.reset(); // which ends all watching
  enrolled_.clear();
  watched_.clear();
  since_.reset();
  problem_ = why;
  return false;
}

bool WriteWatch::knows(pid_t pid, const CheckpointReader& base) const {
  struct stat file;
  return faults_ && pid == pid_ && since_ == base.id() && ::fstat(base.fd(), &file) == 0 &&
         file.st_dev == device_ && file.st_ino == inode_ &&
         process::ProcStat::read(pid).start_time == start_time_;
}

bool WriteWatch::open(pid_t pid, process::Tracee& thread, const CallSite& site) {
  const std::uint64_t start_time = process::ProcStat::read(pid).start_time;
  if (faults_ && pid_ == pid && start_time_ == start_time) {
    return true;
  }
  faults_.reset();
  since_.reset();
  process::RemoteCalls calls = site.begin(thread);
  const std::int64_t theirs = calls.call(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | kUserModeOnly);
  int error = static_cast<int>(-theirs);
  if (theirs >= 0) {
    const ScopedFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    faults_.reset(static_cast<int>(::syscall(SYS_pidfd_getfd, process.get(), theirs, 0)));
    error = errno;
    calls.require("closing a descriptor", SYS_close, theirs);
  }
  calls.finish();
  if (!faults_) {
    return give_up(reason("the process has no userfaultfd(2)", error));
  }
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = kAsynchronous;
  if (::ioctl(faults_.get(), UFFDIO_API, &api) != 0) {
    return give_up("the kernel has no asynchronous write protection (Linux 6.7)");
  }
  pid_ = pid;
  start_time_ = start_time;
  return true;
}

std::vector<AddressRange>
WriteWatch::take_early(pid_t pid, const std::vector<process::ProcMapping>& mappings) {
  since_.reset();
  std::vector<AddressRange> written;
  process::PageScanner scanner(pid);
  for (const process::ProcMapping& mapping : mappings) {
    if (mapping_kind(mapping) == MappingKind::kPrivateAnonymous &&
        scanner.is_watched(mapping.start) &&
        !scanner.take_written(mapping.start, mapping.end, [&](const process::TouchedRange& range) {
          written.push_back({range.start, range.end});
        })) {
      break; // the rest is found later
    }
  }
  return written;
}

void WriteWatch::enroll(pid_t pid, process::Tracee& thread, const CallSite& site,
                        const std::vector<process::ProcMapping>& mappings) {
  enrolled_.clear();
  watched_.clear();
  if (!open(pid, thread, site)) {
    return;
  }
  process::PageScanner scanner(pid);
  for (const process::ProcMapping& mapping : mappings) {
    // Of pages of files a marker stays when they are given back (MADV_DONTNEED), which looks like a
    // page that nobody wrote to.
    if (mapping_kind(mapping) != MappingKind::kPrivateAnonymous) {
      continue;
    }
    const bool before = scanner.is_watched(mapping.start);
    uffdio_register registration{};
    registration.range = {mapping.start, mapping.length()};
    registration.mode = UFFDIO_REGISTER_MODE_WP;
    if (::ioctl(faults_.get(), UFFDIO_REGISTER, &registration) != 0) {
      continue; // the program watches it itself
    }
    enrolled_.push_back({mapping.start, mapping.end});
    if (before) {
      watched_.push_back(enrolled_.back());
    } else {
      // Pages that were moved here from watched memory may look protected and be writable
      // (mremap(2) before Linux 6.13).
      uffdio_writeprotect none{};
      none.range = registration.range;
      ::ioctl(faults_.get(), UFFDIO_WRITEPROTECT, &none);
    }
  }
  if (enrolled_.empty()) { // as after execve(2)
    give_up("the process has no memory that can be watched");
  }
}

void WriteWatch::protect(pid_t pid, bool all) {
  since_.reset();
  if (!faults_) {
    return;
  }
  process::PageScanner scanner(pid);
  auto watched = watched_.begin();
  for (const AddressRange& range : enrolled_) {
    const bool before = watched != watched_.end() && watched->start == range.start;
    watched += before ? 1 : 0;
    if ((all || !before) && !scanner.protect_written(range.start, range.end)) {
      give_up("the kernel does not protect the memory (PAGEMAP_SCAN, Linux 6.7)");
      return;
    }
  }
  problem_.clear();
}

void WriteWatch::captured(const CheckpointId& id, const std::string& path) {
  struct stat file;
  if (faults_ && ::stat(path.c_str(), &file) == 0) {
    since_ = id;
    device_ = file.st_dev;
    inode_ = file.st_ino;
    reporter_.prepare();
  }
}

} // namespace process::capture

MemoryWatch::MemoryWatch() : watch_(std::make_unique<process::capture::WriteWatch>()) {}
MemoryWatch::~MemoryWatch() = default;

const std::string& MemoryWatch::problem() const {
  return watch_->problem();
}

} // namespace rrpcp
