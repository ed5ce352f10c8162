#include "store/atomic_file.h"

#include "base/own_directory.h"
#include "rrpcp/error.h"
#include "rrpcp/store.h"

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace rrpcp {

namespace {

// Private names begin with this; nothing else in a directory does.
constexpr char kPrivatePrefix[] = ".rrpcp-";

// What is in the files are secrets of the processes that they were taken of, as a rule: nobody but
// the owner reads them, whatever the umask and whatever was there before.
constexpr mode_t kMode = S_IRUSR | S_IWUSR;

std::string new_private_name() {
  std::uint64_t random[2] = {};
  if (::getrandom(random, sizeof random, 0) != sizeof random) {
    throw system_error(errno, "cannot get random bytes for a temporary name");
  }
  char name[64];
  std::snprintf(name, sizeof name, "%s%016llx%016llx.tmp", kPrivatePrefix,
                static_cast<unsigned long long>(random[0]),
                static_cast<unsigned long long>(random[1]));
  return name;
}

bool is_private_name(const std::string& name) {
  return name.starts_with(kPrivatePrefix) && name.ends_with(".tmp");
}

// Waits for the lock that says "somebody writes this file". False where the file system has no
// locks; then nobody removes private files either.
bool lock(int fd) {
  while (::flock(fd, LOCK_EX) != 0) {
    if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

// Removes private files whose writer is dead: those that nobody has locked. A writer that has
// created its file and not locked it yet notices the removal when it has the lock.
void remove_litter(int directory) {
  int duplicate = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (duplicate < 0) {
    return; // a directory that may be written but not read
  }
  std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(duplicate), &::closedir);
  if (entries == nullptr) {
    ::close(duplicate);
    return;
  }
  while (dirent* entry = ::readdir(entries.get())) {
    if (!is_private_name(entry->d_name)) {
      continue;
    }
    ScopedFd file(
        ::openat(directory, entry->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat status;
    if (file && ::fstat(file.get(), &status) == 0 && S_ISREG(status.st_mode) &&
        ::flock(file.get(), LOCK_EX | LOCK_NB) == 0) {
      ::unlinkat(directory, entry->d_name, 0);
    }
  }
}

} // namespace

void sync_directory(int fd, const std::string& path) {
  // Some file systems cannot sync a directory; then there is nothing to wait for.
  if (::fsync(fd) != 0 && errno != EINVAL && errno != EBADF) {
    throw system_error(errno, "cannot sync the directory").in_file(path);
  }
}

PendingFile::PendingFile(std::string directory)
    : directory_(std::move(directory)), directory_fd_(open_own_directory(directory_)) {
  remove_litter(directory_fd_.get());
  file_.reset(::openat(directory_fd_.get(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, kMode));
  if (file_) {
    ::fchmod(file_.get(), kMode); // where the umask takes away even that
    return;
  }
  if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL && errno != ENOENT) {
    throw system_error(errno, "cannot create a file in the directory").in_file(directory_);
  }
  for (;;) {
    std::string name = new_private_name();
    ScopedFd file(
        ::openat(directory_fd_.get(), name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, kMode));
    if (!file && errno == EEXIST) {
      continue;
    }
    if (!file) {
      throw system_error(errno, "cannot create a file in the directory").in_file(directory_);
    }
    struct stat status;
    if (lock(file.get()) && ::fstat(file.get(), &status) == 0 && status.st_nlink == 0) {
      continue; // taken for litter before it was locked
    }
    private_name_ = name;
    ::fchmod(file.get(), kMode);
    file_ = std::move(file);
    return;
  }
}

PendingFile::~PendingFile() {
  if (!private_name_.empty()) {
    ::unlinkat(directory_fd_.get(), private_name_.c_str(), 0);
  }
}

void PendingFile::sync() {
  while (::fdatasync(file_.get()) != 0) {
    if (errno == EINTR) {
      continue;
    }
    if (errno == EINVAL || errno == EROFS) {
      return; // a file system that has nothing to sync
    }
    throw system_error(errno, "cannot sync the file").in_file(directory_);
  }
}

bool PendingFile::publish_new(const std::string& name) {
  int result;
  if (private_name_.empty()) {
    std::string by_fd = "/proc/self/fd/" + std::to_string(file_.get());
    result =
        ::linkat(AT_FDCWD, by_fd.c_str(), directory_fd_.get(), name.c_str(), AT_SYMLINK_FOLLOW);
    if (result != 0 && errno == ENOENT) {
      // No /proc: needs CAP_DAC_READ_SEARCH, else it fails in the same way.
      result = ::linkat(file_.get(), "", directory_fd_.get(), name.c_str(), AT_EMPTY_PATH);
    }
  } else {
    result =
        ::linkat(directory_fd_.get(), private_name_.c_str(), directory_fd_.get(), name.c_str(), 0);
    if (result != 0 && (errno == EPERM || errno == EOPNOTSUPP)) {
      // A file system without hard links.
      result = ::renameat2(directory_fd_.get(), private_name_.c_str(), directory_fd_.get(),
                           name.c_str(), RENAME_NOREPLACE);
      if (result == 0) {
        private_name_.clear();
      }
    }
  }
  if (result != 0 && errno == EEXIST) {
    return false;
  }
  if (result != 0) {
    throw system_error(errno, "cannot publish the file").in_file(directory_ + "/" + name);
  }
  if (!private_name_.empty()) {
    ::unlinkat(directory_fd_.get(), private_name_.c_str(), 0);
    private_name_.clear();
  }
  sync_directory(directory_fd_.get(), directory_);
  return true;
}

void PendingFile::give_private_name() {
  while (private_name_.empty()) {
    std::string name = new_private_name();
    lock(file_.get()); // before the name is seen, so that nobody takes it for litter
    if (publish_new(name)) {
      private_name_ = name;
    }
  }
}

void PendingFile::publish_replacing(const std::string& name) {
  if (private_name_.empty() && publish_new(name)) {
    return;
  }
  give_private_name();
  if (::renameat(directory_fd_.get(), private_name_.c_str(), directory_fd_.get(), name.c_str()) !=
      0) {
    throw system_error(errno, "cannot publish the file").in_file(directory_ + "/" + name);
  }
  private_name_.clear();
  sync_directory(directory_fd_.get(), directory_);
}

namespace {

// The directory of `path`. Throws Error where it can be no new file.
std::string directory_for(const std::string& path, bool replace) {
  const std::size_t slash = path.rfind('/');
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (name.empty() || name == "." || name == "..") {
    throw Error(ErrorCode::kInvalidArgument, "this names no file").in_file(path);
  }
  struct stat status;
  if (!replace && ::lstat(path.c_str(), &status) == 0) {
    throw Error(ErrorCode::kExists, "the file exists already").in_file(path);
  }
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    throw Error(ErrorCode::kInvalidArgument, "this exists and is no regular file").in_file(path);
  }
  if (slash == std::string::npos) {
    return ".";
  }
  return slash == 0 ? "/" : path.substr(0, slash);
}

} // namespace

PendingPath::PendingPath(std::string path, bool replace)
    : path_(std::move(path)), replace_(replace), file_(directory_for(path_, replace)),
      output_(file_.fd(), path_) {}

ScopedFd PendingPath::reopen() const {
  ScopedFd again(::fcntl(file_.fd(), F_DUPFD_CLOEXEC, 0));
  if (!again) {
    throw system_error(errno, "cannot read back").in_file(path_);
  }
  return again;
}

void PendingPath::publish() {
  file_.sync();
  const std::string name = path_.substr(path_.rfind('/') + 1); // npos + 1 is 0
  if (replace_) {
    file_.publish_replacing(name);
  } else if (!file_.publish_new(name)) {
    throw Error(ErrorCode::kExists, "the file exists already").in_file(path_);
  }
}

void write_file_atomically(const std::string& path, bool replace,
                           const std::function<void(Output&)>& write) {
  PendingPath file(path, replace);
  write(file.output());
  file.publish();
}

} // namespace rrpcp
