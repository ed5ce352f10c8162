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

constexpr std::string_view kPrivatePrefix = ".rrpcp-export-";

// Removes the files of a directory and the directory; it has no subdirectories. Best effort.
void remove_tree(int parent_fd, const std::string& name, const std::string& path) {
  try {
    const ScopedFd directory = open_directory(path);
    for (const std::string& file : list_directory(path)) {
      ::unlinkat(directory.get(), file.c_str(), 0);
    }
  } catch (const Error&) {
    // What cannot be listed stays; nobody takes it for a checkpoint.
  }
  ::unlinkat(parent_fd, name.c_str(), AT_REMOVEDIR);
}

void remove_dead(int parent_fd, const std::string& parent) {
  for (const std::string& name : list_directory(parent)) {
    if (!name.starts_with(kPrivatePrefix)) {
      continue;
    }
    const ScopedFd directory(
        ::openat(parent_fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (directory && ::flock(directory.get(), LOCK_EX | LOCK_NB) == 0) {
      remove_tree(parent_fd, name, join_path(parent, name));
    }
  }
}

} // namespace

void remove_directory(const std::string& parent, const std::string& name) {
  const ScopedFd parent_fd = open_directory(parent);
  remove_dead(parent_fd.get(), parent);
  // An empty directory of a private name, whose place the doomed one takes.
  std::string pattern = join_path(parent, std::string(kPrivatePrefix) + "XXXXXX");
  if (::mkdtemp(pattern.data()) == nullptr) {
    throw system_error(errno, "cannot make a directory").in_file(parent);
  }
  const std::string private_name(base_name(pattern));
  if (::renameat(parent_fd.get(), name.c_str(), parent_fd.get(), private_name.c_str()) != 0) {
    const int error = errno;
    ::unlinkat(parent_fd.get(), private_name.c_str(), AT_REMOVEDIR);
    throw system_error(error, "cannot rename the directory").in_file(join_path(parent, name));
  }
  if (::fsync(parent_fd.get()) != 0) {
    throw system_error(errno, "cannot sync the directory").in_file(parent);
  }
  remove_tree(parent_fd.get(), private_name, pattern);
}

PendingDirectory::PendingDirectory(const std::string& parent)
    : parent_(parent), parent_fd_(open_directory(parent)) {
  remove_dead(parent_fd_.get(), parent);
  std::string pattern = join_path(parent, std::string(kPrivatePrefix) + "XXXXXX");
  if (::mkdtemp(pattern.data()) == nullptr) {
    throw system_error(errno, "cannot make a directory").in_file(parent);
  }
  path_ = pattern;
  name_ = std::string(base_name(path_));
  fd_ = open_directory(path_);
  if (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0 || ::fchmod(fd_.get(), 0755) != 0) {
    const int error = errno;
    remove_tree(parent_fd_.get(), name_, path_);
    throw system_error(error, "cannot prepare the directory").in_file(path_);
  }
}

PendingDirectory::~PendingDirectory() {
  if (!published_) {
    remove_tree(parent_fd_.get(), name_, path_);
  }
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
  if (::fsync(fd_.get()) != 0) {
    throw system_error(errno, "cannot sync the directory").in_file(path_);
  }
  if (::syscall(SYS_renameat2, parent_fd_.get(), name_.c_str(), parent_fd_.get(), name.c_str(),
                RENAME_NOREPLACE) != 0) {
    if (errno == EEXIST) {
      throw Error(ErrorCode::kExists, "a checkpoint of that event is there already")
          .in_file(join_path(parent_, name))
          .with_hint("rr-2025 has room for one checkpoint per event: move the other one away");
    }
    throw system_error(errno, "cannot rename the directory").in_file(join_path(parent_, name));
  }
  published_ = true;
  if (::fsync(parent_fd_.get()) != 0) {
    throw system_error(errno, "cannot sync the directory").in_file(parent_);
  }
}

} // namespace rrpcp::compat
