#include "trace/private_entries.h"

#include "rrpcp/error.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>

namespace rrpcp::trace {

bool make_private_directory(const std::string& path) {
  constexpr mode_t kMode = 0700;
  if (::mkdir(path.c_str(), kMode) != 0) {
    if (errno == EEXIST) {
      return false;
    }
    throw system_error(errno, "cannot make a directory").in_file(path);
  }
  if (::chmod(path.c_str(), kMode) != 0) { // the umask may have taken something away
    throw system_error(errno, "cannot set the mode of a directory").in_file(path);
  }
  return true;
}

ScopedFd open_real_directory(const std::string& path) {
  ScopedFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (directory) {
    return directory;
  }
  const int error = errno;
  struct stat status = {};
  if (::lstat(path.c_str(), &status) == 0 && S_ISLNK(status.st_mode)) {
    throw Error(ErrorCode::kPermission, "a folder of the trace is a symbolic link, which is not "
                                        "followed: nothing is written outside of a trace")
        .in_file(path)
        .with_hint("put the folder itself in the place of the link");
  }
  throw system_error(error, "cannot open a folder of the trace").in_file(path);
}

ScopedFd create_private_file(const std::string& path) {
  constexpr mode_t kMode = 0600;
  ScopedFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kMode));
  if (!file || ::fchmod(file.get(), kMode) != 0) {
    throw system_error(errno, "cannot create").in_file(path);
  }
  return file;
}

} // namespace rrpcp::trace
