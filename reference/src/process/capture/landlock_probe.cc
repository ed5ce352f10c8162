#include "process/capture/landlock_probe.h"

#include "base/scoped_fd.h"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/kcmp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace rrpcp::process::capture {

namespace {

// What the child does: becomes the user, says so, and waits for its end. System calls only: it is
// the child of a program with threads.
[[noreturn]] void wait_as(std::uint32_t uid, std::uint32_t gid, pid_t parent, int ready) {
  const std::uint64_t all = ~std::uint64_t{0}; // the program's handlers must not run here
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, nullptr, sizeof all);
  ::syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  ::syscall(SYS_setresgid, gid, gid, gid);
  ::syscall(SYS_setresuid, uid, uid, uid);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct none[2] = {};
  ::syscall(SYS_capset, &header, none);
  // Becoming another user has hidden the process from others, and taken the signal back.
  ::syscall(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
  ::syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (::syscall(SYS_getppid) != parent) { // it was killed before the signal was asked for
    ::syscall(SYS_exit_group, 0);
  }
  const char byte = 1;
  ::syscall(SYS_write, ready, &byte, 1);
  for (;;) {
    ::syscall(SYS_pause);
  }
}

} // namespace

LandlockProbe::~LandlockProbe() {
  for (const auto& [user, child] : children_) {
    if (child > 0) {
      ::kill(child, SIGKILL);
      while (::waitpid(child, nullptr, __WALL) < 0 && errno == EINTR) {
      }
    }
  }
}

pid_t LandlockProbe::child_of(std::uint32_t uid, std::uint32_t gid) {
  auto known = children_.find({uid, gid});
  if (known != children_.end()) {
    return known->second;
  }
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    return 0;
  }
  const ScopedFd reader(ends[0]);
  ScopedFd writer(ends[1]);
  // Without a signal at its end, so that the program that we are part of does not notice.
  const pid_t parent = ::getpid();
  const pid_t child = static_cast<pid_t>(::syscall(SYS_clone, 0, 0, 0, 0, 0));
  if (child == 0) {
    wait_as(uid, gid, parent, writer.get());
  }
  writer.reset();
  char byte = 0;
  ssize_t got = 0;
  do {
    got = child > 0 ? ::read(reader.get(), &byte, 1) : 0;
  } while (got < 0 && errno == EINTR);
  if (child > 0 && got != 1) { // it was killed meanwhile
    ::waitpid(child, nullptr, __WALL);
  }
  return children_[{uid, gid}] = got == 1 ? child : 0;
}

std::optional<bool> LandlockProbe::is_confined(RemoteCalls& calls, const ProcStatus& status) {
  if (!status.same_namespace) {
    return std::nullopt;
  }
  const pid_t child = child_of(status.uids[0], status.gids[0]);
  if (child == 0) {
    return std::nullopt;
  }
  const std::int64_t order = calls.call(SYS_kcmp, status.thread, child, KCMP_VM, 0, 0);
  if (order >= 0) {
    return false;
  }
  return order == -EPERM || order == -EACCES ? std::optional(true) : std::nullopt;
}

} // namespace rrpcp::process::capture
