#include "base/open_file.h"

#include <cerrno>
#include <cstdio>
#include <sys/stat.h>
#include <utility>

namespace rrpcp {

namespace {

// A file that is only to be read, opened by its path where it still is what it was a moment before.
ScopedFd open_for_reading(int directory, const char* path, int flags) {
  struct stat there;
  if (::fstatat(directory, path, &there, (flags & O_NOFOLLOW) != 0 ? AT_SYMLINK_NOFOLLOW : 0) !=
          0 ||
      !S_ISREG(there.st_mode)) {
    return {};
  }
  ScopedFd file(::openat(directory, path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat opened;
  const bool same = file && ::fstat(file.get(), &opened) == 0 && opened.st_dev == there.st_dev &&
                    opened.st_ino == there.st_ino;
  return same ? std::move(file) : ScopedFd();
}

} // namespace

ScopedFd open_file(int directory, const char* path, int flags, mode_t also) {
  // The quicker way, for the many files of a listing.
  if ((flags & (O_ACCMODE | O_TRUNC | O_CREAT | O_PATH)) == O_RDONLY) {
    if (ScopedFd file = open_for_reading(directory, path, flags)) {
      return file;
    }
  }
  ScopedFd found(::openat(directory, path, O_PATH | O_CLOEXEC | (flags & O_NOFOLLOW)));
  struct stat there;
  if (!found || ::fstat(found.get(), &there) != 0 || (flags & O_PATH) != 0) {
    return found;
  }
  if (S_ISLNK(there.st_mode)) { // by O_NOFOLLOW
    errno = ELOOP;
    return {};
  }
  const mode_t type = there.st_mode & S_IFMT;
  if (type != S_IFREG && type != S_IFDIR && type != also) {
    return found;
  }
  flags |= O_NONBLOCK | O_NOCTTY; // mean nothing for files, but for a FIFO
  char link[40];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", found.get());
  ScopedFd file(::open(link, (flags & ~O_NOFOLLOW) | O_CLOEXEC));
  if (file || (errno != ENOENT && errno != ENOTDIR)) {
    return file;
  }
  // Without /proc: by the path once more, and only if it is the same.
  file.reset(::openat(directory, path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat opened;
  if (file && (::fstat(file.get(), &opened) != 0 || opened.st_dev != there.st_dev ||
               opened.st_ino != there.st_ino)) {
    return found;
  }
  return file;
}

} // namespace rrpcp
