#include "legacy/pending_directory.h"

#include "base/file.h"
#include "rrpcp/error.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace rrpcp::compat {

namespace {

// Makes an empty directory of a private name; returns its path.
std::string make_private_directory(const std::string& parent, std::string_view prefix) {
  std::string pattern = join_path(parent, std::string(prefix) + "XXXXXX");
  if (::mkdtemp(pattern.data()) == nullptr) {
    throw system_error(errno, "cannot make a directory").in_file(parent);
  }
  return pattern;
}

void sync_directory(int fd, const std::string& path) {
  if (::fsync(fd) != 0) {
    throw system_error(errno, "cannot sync the directory").in_file(path);
  }
}

} // namespace

void remove_flat_directory(int parent_fd, const std::string& name, const std::string& path) {
  try {
    const ScopedFd directory = open_directory(path);
    for (const std::string& file : list_directory(path)) {
      ::unlinkat(directory.get(), file.c_str(), 0);
    }
  } catch (const Error&) {
    // What cannot be listed stays.
  }
  ::unlinkat(parent_fd, name.c_str(), AT_REMOVEDIR);
}

void remove_dead_directories(int parent_fd, const std::string& parent) {
  for (const std::string& name : list_directory(parent)) {
    if (!name.starts_with(kPendingPrefix)) {
      continue;
    }
    const ScopedFd directory(
        ::openat(parent_fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (directory && ::flock(directory.get(), LOCK_EX | LOCK_NB) == 0) {
      remove_flat_directory(parent_fd, name, join_path(parent, name));
    }
  }
}

void remove_directory(const std::string& parent, const std::string& name) {
  const ScopedFd parent_fd = open_directory(parent);
  remove_dead_directories(parent_fd.get(), parent);
  // The doomed one takes the place of an empty directory.
  const std::string path = make_private_directory(parent, kPendingPrefix);
  const std::string private_name(base_name(path));
  if (::renameat(parent_fd.get(), name.c_str(), parent_fd.get(), private_name.c_str()) != 0) {
    const int error = errno;
    ::unlinkat(parent_fd.get(), private_name.c_str(), AT_REMOVEDIR);
    throw system_error(error, "cannot rename the directory").in_file(join_path(parent, name));
  }
  sync_directory(parent_fd.get(), parent);
  remove_flat_directory(parent_fd.get(), private_name, path);
}

PendingDirectory::PendingDirectory(const std::string& parent, std::string_view prefix)
    : parent_(parent), parent_fd_(open_directory(parent)) {
  remove_dead_directories(parent_fd_.get(), parent);
  path_ = make_private_directory(parent, prefix);
  name_ = std::string(base_name(path_));
  fd_ = open_directory(path_);
  if (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0 || ::fchmod(fd_.get(), 0755) != 0) {
    const int error = errno;
    remove_flat_directory(parent_fd_.get(), name_, path_);
    throw system_error(error, "cannot prepare the directory").in_file(path_);
  }
}

PendingDirectory::~PendingDirectory() {
  if (!kept_) {
    discard();
  }
}

void PendingDirectory::keep() {
  sync_directory(fd_.get(), path_);
  sync_directory(parent_fd_.get(), parent_);
  kept_ = true;
}

void PendingDirectory::discard() {
  remove_flat_directory(parent_fd_.get(), name_, path_);
  kept_ = true; // nothing is left to do
}

ScopedFd PendingDirectory::create(const std::string& name) const {
  ScopedFd fd(
      ::openat(fd_.get(), name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666));
  if (!fd) {
    throw system_error(errno, "cannot make the file").in_file(join_path(path_, name));
  }
  return fd;
}

void PendingDirectory::publish(const std::string& name) {
  sync_directory(fd_.get(), path_);
  if (::syscall(SYS_renameat2, parent_fd_.get(), name_.c_str(), parent_fd_.get(), name.c_str(),
                RENAME_NOREPLACE) != 0) {
    if (errno == EEXIST) {
      throw Error(ErrorCode::kExists, "a checkpoint of that event is there already")
          .in_file(join_path(parent_, name))
          .with_hint("rr-2025 has room for one checkpoint per event: move the other one away");
    }
    throw system_error(errno, "cannot rename the directory").in_file(join_path(parent_, name));
  }
  kept_ = true;
  sync_directory(parent_fd_.get(), parent_);
}

} // namespace rrpcp::compat
