// /proc/PID/fdinfo/N.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace rrpcp::process {

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

// An "inotify" line: something that an inotify(7) instance watches.
struct FdInotifyWatch {
  int descriptor = 0;
  // As fdinfo shows it: major << 20 | minor.
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint32_t mask = 0;
  // Of name_to_handle_at(2); empty where the file system has none.
  int handle_type = 0;
  std::string handle = {};
};

// What fdinfo says of a timerfd. Times in nanoseconds.
struct FdTimer {
  int clock = 0;
  std::uint64_t ticks = 0;
  std::uint32_t settings = 0; // TFD_TIMER_*
  std::uint64_t remaining = 0;
  std::uint64_t interval = 0;
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
  std::vector<FdInotifyWatch> inotify;
  std::optional<FdTimer> timer;
  std::optional<std::uint64_t> signal_mask; // of a signalfd
  std::optional<int> pid;                   // of a pidfd; -1: it has ended and was waited for

  // Nothing where the process is gone or the descriptor is closed.
  static std::optional<FdInfo> try_read(pid_t pid, int fd);
  static FdInfo parse(std::string_view text);
};

// Open descriptors of a process in ascending order. Throws kProcessGone, kPermission.
std::vector<int> read_open_descriptors(pid_t pid);

} // namespace rrpcp::process
