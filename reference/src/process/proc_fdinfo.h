// /proc/PID/fdinfo/N.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace rrpcp {

// A "lock:" line of proc_pid_fdinfo(5).
struct FdLock {
  enum class Kind { kPosix, kOpenFileDescription, kFlock, kLease, kOther };
  Kind kind = Kind::kOther;
  bool exclusive = false;
  // Of a lease that somebody waits for: what it is to become, with `exclusive`.
  bool breaking = false;
  bool is_read = false;
  std::uint64_t start = 0;
  // Inclusive; 2^63-1: to the end of the file.
  std::uint64_t end = 0;
};

// A "tfd:" line: a descriptor that an epoll(7) instance watches.
struct FdWatch {
  int fd = 0;
  std::uint32_t events = 0;
  std::uint64_t data = 0;
  // Inode of the watched file; 0 where the kernel does not say.
  std::uint64_t inode = 0;
};

struct FdInfo {
  std::uint64_t position = 0;
  // O_* of open(2), O_CLOEXEC where the descriptor has FD_CLOEXEC.
  std::uint32_t flags = 0;
  int mount = 0;
  std::uint64_t inode = 0;
  std::vector<FdLock> locks;
  std::optional<std::uint64_t> eventfd_count;
  bool eventfd_semaphore = false;
  std::vector<FdWatch> watches;

  // Nothing where the process is gone or the descriptor is closed.
  static std::optional<FdInfo> try_read(pid_t pid, int fd);
  static FdInfo parse(std::string_view text);
};

// Open descriptors of a process in ascending order. Throws kProcessGone, kPermission.
std::vector<int> read_open_descriptors(pid_t pid);

} // namespace rrpcp
