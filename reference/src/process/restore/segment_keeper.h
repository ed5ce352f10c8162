// System V segments that are gone if we die before they are needed.
#pragma once

#include "base/scoped_fd.h"

#include <cstddef>
#include <sys/ipc.h>
#include <sys/types.h>

namespace rrpcp::process::restore {

// The kernel keeps a System V segment until somebody removes it. So a child process makes the
// segments for us, and removes them when we are gone without having said that they are to stay: it
// sees the end of its pipe, whatever has ended us, and leaves only those that a process uses. It is
// made with the first segment, has all signals blocked and nothing of ours open but the pipes, and
// ends with this object. One thread at a time.
class SegmentKeeper {
public:
  SegmentKeeper() = default;
  SegmentKeeper(const SegmentKeeper&) = delete;
  SegmentKeeper& operator=(const SegmentKeeper&) = delete;
  // Removes the segments, unless keep() was called.
  ~SegmentKeeper();

  // shmget(2) with IPC_CREAT and IPC_EXCL, after asking for the identifier `wanted_id` (needs
  // privilege; a wish only). Returns the identifier, or a negative errno. Throws Error where there
  // is no process to be had.
  int make(key_t key, std::size_t size, int mode, int wanted_id);
  // From now on the segments stay.
  void keep();

private:
  void start();
  void end();

  pid_t keeper_ = 0;
  ScopedFd requests_;
  ScopedFd answers_;
};

} // namespace rrpcp::process::restore
