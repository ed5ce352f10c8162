// A little memory in a traced process for what system calls give back.
#pragma once

#include "process/remote_calls.h"
#include "process/remote_memory.h"

#include <cstdint>
#include <optional>
#include <sys/types.h>

namespace rrpcp::capture {

// How the threads of one process make system calls for us.
struct CallSite {
  // Preferred; null where the process has no room for it.
  CallGate* gate = nullptr;
  // Of a `syscall` instruction, where there is no gate.
  std::optional<std::uint64_t> instruction = {};

  RemoteCalls begin(Tracee& thread) const {
    return gate != nullptr ? RemoteCalls(thread, *gate) : RemoteCalls(thread, instruction);
  }
};

// One page in the process. It is a shared mapping, so that the kernel does not join it with a
// neighbour. To be unmapped by its owner through a thread of the process.
class ScratchMemory {
public:
  explicit ScratchMemory(pid_t pid) : memory_(pid) {}

  // Maps the page if it is not there yet. Throws Error.
  void map(RemoteCalls& calls);
  void unmap(RemoteCalls& calls);
  // The same page in a copy of the process (fork(2)), which is unmapped on its own.
  ScratchMemory of_copy(pid_t pid) const;

  bool mapped() const { return address_ != 0; }
  std::uint64_t address() const { return address_; }
  // What a call put at the beginning of the page.
  template <typename T> T read() { return memory_.read_value<T>(address_); }

private:
  RemoteMemory memory_;
  std::uint64_t address_ = 0;
};

} // namespace rrpcp::capture
