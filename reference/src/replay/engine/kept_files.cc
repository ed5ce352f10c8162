#include "replay/engine/kept_files.h"

#include "base/scoped_fd.h"
#include "rrpcp/error.h"

#include <cerrno>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <unistd.h>

namespace rrpcp::replay {

namespace {

std::int64_t nanoseconds(const timespec& time) {
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

void copy(int from, int to, off_t size, const std::string& path) {
  if (::ioctl(to, FICLONE, from) == 0) {
    return;
  }
  off_t offset = 0;
  while (offset < size) {
    const ssize_t n = ::sendfile(to, from, &offset, static_cast<std::size_t>(size - offset));
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      throw system_error(errno, "cannot keep a copy of a mapped file").in_file(path);
    }
    if (n == 0) {
      throw Error(ErrorCode::kSystem, "the file became shorter while it was copied").in_file(path);
    }
  }
}

} // namespace

std::string KeptFiles::keep(int fd, const std::string& path) {
  struct stat status;
  if (::fstat(fd, &status) != 0) {
    throw system_error(errno, "cannot examine").in_file(path);
  }
  const Identity identity{status.st_dev, status.st_ino, status.st_size,
                          nanoseconds(status.st_mtim)};
  if (auto found = kept_.find(identity); found != kept_.end()) {
    return found->second;
  }
  std::string base = path.substr(path.rfind('/') + 1);
  if (base.size() > 100) {
    base.resize(100);
  }
  const std::string name = "files/" + std::to_string(kept_.size()) + "-" + base;
  const std::string full = directory_ + "/" + name;
  ScopedFd to(::open(full.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!to) {
    throw system_error(errno, "cannot create").in_file(full);
  }
  copy(fd, to.get(), status.st_size, path);
  const timespec times[2] = {status.st_atim, status.st_mtim};
  ::futimens(to.get(), times);
  ::fchmod(to.get(), (status.st_mode & 0777) | 0400);
  kept_.emplace(identity, name);
  return name;
}

} // namespace rrpcp::replay
