// Whether a thread is confined by landlock(7), which the kernel does not tell.
#pragma once

#include "process/proc_status.h"
#include "process/remote_calls.h"

#include <cstdint>
#include <map>
#include <optional>
#include <sys/types.h>
#include <utility>

namespace rrpcp::process::capture {

// A confined thread may not look at a process that is not confined as it is, however equal their
// users are (landlock(7), "ptrace restrictions"). So a child of ours that belongs to the thread's
// user and has no capabilities is put up, and the thread is made to compare itself with it
// (kcmp(2)): where that is not permitted, a security module forbids it.
class LandlockProbe {
public:
  LandlockProbe() = default;
  LandlockProbe(const LandlockProbe&) = delete;
  LandlockProbe& operator=(const LandlockProbe&) = delete;
  // Ends the children.
  ~LandlockProbe();

  // Nothing where it cannot be found out: the thread is in another pid or user namespace, or no
  // child could be made. `status` is the thread's.
  std::optional<bool> is_confined(RemoteCalls& calls, const ProcStatus& status);

  // A child of ours that belongs to this user and has nothing of its own: no capabilities, no
  // System V semaphores. 0 where none could be made.
  pid_t child_of(std::uint32_t uid, std::uint32_t gid);

private:
  std::map<std::pair<std::uint32_t, std::uint32_t>, pid_t> children_; // 0: none could be made
};

} // namespace rrpcp::process::capture
