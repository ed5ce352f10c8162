// Memory of another process.
#pragma once

#include "base/scoped_fd.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <sys/types.h>
#include <sys/uio.h>

namespace rrpcp::process {

// Reads and writes the memory of one process, whether its threads are stopped or not. Needs the
// right to trace it (PTRACE_MODE_ATTACH). One thread at a time.
class RemoteMemory {
public:
  // Whose the pages of private memory mostly are. process_vm_readv(2) is the faster way to pages
  // that belong to one process alone; pages that are shared copy-on-write since a fork would first
  // be copied for it (Linux 5.19 and later: mm/gup.c, gup_must_unshare), which costs time and
  // doubles the memory. /proc/PID/mem reads them as they are.
  enum class Pages { kOwn, kShared };

  explicit RemoteMemory(pid_t pid, Pages pages = Pages::kOwn) : pid_(pid), pages_(pages) {}

  pid_t pid() const { return pid_; }

  // Fills `out` from `address` and returns how many bytes could be read: fewer where an address
  // is not mapped or has nothing behind it (a mapping beyond the end of its file). Uses
  // process_vm_readv(2), and /proc/PID/mem for memory that the program itself may not read.
  // Throws kProcessGone, kPermission, kSystem.
  std::size_t read_some(std::uint64_t address, std::span<std::byte> out);
  // The same; throws kSystem (EFAULT) where not all of it can be read.
  void read(std::uint64_t address, std::span<std::byte> out);
  // Fills `out` with the bytes of all ranges, one after the other; throws as read().
  void read_ranges(std::span<const iovec> ranges, std::span<std::byte> out);
  template <typename T> T read_value(std::uint64_t address) {
    T value;
    read(address, std::as_writable_bytes(std::span(&value, 1)));
    return value;
  }
  // Writes through /proc/PID/mem: also into memory that the program may not write, which then
  // becomes a private copy. Throws Error where not all of it can be written.
  void write(std::uint64_t address, std::span<const std::byte> bytes);

private:
  int memory_file();

  pid_t pid_;
  Pages pages_;
  ScopedFd memory_file_; // /proc/PID/mem, opened on first use
};

} // namespace rrpcp::process
