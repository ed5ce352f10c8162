// Memory of another process.
#pragma once

#include "base/scoped_fd.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <sys/types.h>

namespace rrpcp {

// Reads and writes the memory of one process, whether its threads are stopped or not. Needs the
// right to trace it (PTRACE_MODE_ATTACH). One thread at a time.
class RemoteMemory {
public:
  explicit RemoteMemory(pid_t pid) : pid_(pid) {}

  pid_t pid() const { return pid_; }

  // Fills `out` from `address` and returns how many bytes could be read: fewer where an address
  // is not mapped or has nothing behind it (a mapping beyond the end of its file). Uses
  // process_vm_readv(2), and /proc/PID/mem for memory that the program itself may not read.
  // Throws kProcessGone, kPermission, kSystem.
  std::size_t read_some(std::uint64_t address, std::span<std::byte> out);
  // The same; throws kSystem (EFAULT) where not all of it can be read.
  void read(std::uint64_t address, std::span<std::byte> out);
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
  ScopedFd memory_file_; // /proc/PID/mem, opened on first use
};

} // namespace rrpcp
