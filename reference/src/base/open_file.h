// Opening files that somebody else may have put there.
#pragma once

#include "base/scoped_fd.h"

#include <fcntl.h>
#include <sys/stat.h>

namespace rrpcp {

// openat(2) with O_CLOEXEC, for where a regular file is expected: what is there is looked at first,
// because opening a device may do something (rewind a tape, start a watchdog) and opening a FIFO
// wakes its writer. What is neither a regular file nor a directory (nor of type `also`, as S_IFIFO)
// is opened with O_PATH, whatever `flags` says, so that fstat(2) tells what it is and nothing else
// can be done with it. Empty, with errno, for a failure.
ScopedFd open_file(int directory, const char* path, int flags, mode_t also = S_IFREG);
inline ScopedFd open_file(const char* path, int flags, mode_t also = S_IFREG) {
  return open_file(AT_FDCWD, path, flags, also);
}

} // namespace rrpcp
