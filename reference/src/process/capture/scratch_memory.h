// A little memory in a traced process for what system calls give back.
#pragma once

#include "process/remote_calls.h"
#include "process/remote_memory.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <sys/types.h>

namespace rrpcp::process::capture {

// How the threads of one process make system calls for us.
struct CallSite {
  // Preferred; null where the process is not made for it.
  ReturnGate* way_back = nullptr;
  // Next best; null where the process has no room for it.
  CallGate* gate = nullptr;
  // Of a `syscall` instruction, where there is no gate.
  std::optional<std::uint64_t> instruction = {};

  RemoteCalls begin(Tracee& thread) const {
    return way_back != nullptr ? RemoteCalls(thread, *way_back)
           : gate != nullptr   ? RemoteCalls(thread, *gate)
                               : RemoteCalls(thread, instruction);
  }
};

// One page in the process: the page of results of a ReturnGate, or else a mapping. That is a shared
// one, so that the kernel does not join it with a neighbour, and is to be unmapped by its owner
// through a thread of the process.
class ScratchMemory {
public:
  explicit ScratchMemory(pid_t pid) : memory_(pid) {}
  // The page of results of a gate of that process.
  ScratchMemory(pid_t pid, const ReturnGate& gate) : memory_(pid), lent_(gate.results()) {}

  // Maps the page if it is not there yet. Throws Error.
  void map(RemoteCalls& calls);
  void unmap(RemoteCalls& calls);
  // The same page in a copy of the process (fork(2)), which is unmapped on its own.
  ScratchMemory of_copy(pid_t pid) const;

  // Whether there is a mapping to be unmapped.
  bool mapped() const { return address_ != 0; }
  std::uint64_t address() const { return lent_ != 0 ? lent_ : address_; }
  // Puts there what a call is to read.
  void write(std::span<const std::byte> bytes) { memory_.write(address(), bytes); }
  // What a call put at the beginning of the page.
  template <typename T> T read() { return memory_.read_value<T>(address()); }

private:
  RemoteMemory memory_;
  std::uint64_t lent_ = 0;
  std::uint64_t address_ = 0;
};

} // namespace rrpcp::process::capture
