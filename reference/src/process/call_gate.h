// A few bytes of code in a program through which it makes system calls for us.
#pragma once

#include "process/proc_maps.h"
#include "process/remote_memory.h"
#include "process/tracee.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <sys/types.h>
#include <sys/user.h>
#include <vector>

namespace rrpcp::process {

// Writes a short piece of code into unused executable bytes of a program: behind the end of the
// vDSO, whose last page has hundreds of bytes to spare. A thread that makes our system calls there
// is safe even if we are killed in the middle of it (the kernel then lets the thread run as it is):
// the code goes on to put back the thread's signal mask and registers by itself and jumps to where
// the thread had been; a new process that it had just made ends at once.
//
// Nothing else of the program ever runs there, so other threads need not be stopped. The destructor
// puts back the bytes. x86-64 only.
class CallGate {
public:
  // Nothing where the program has no vDSO with room for it.
  static std::optional<CallGate> open(pid_t pid, const std::vector<ProcMapping>& mappings);

  CallGate(CallGate&& other) noexcept;
  CallGate& operator=(CallGate&& other) noexcept;
  ~CallGate();

  // Whether a thread is on its way through the gate: one whose tracer was killed.
  bool contains(const user_regs_struct& registers) const;
  // Such a thread, in an event stop, is made as it was before; returns whether it was one. Throws
  // Error.
  bool recover(Tracee& thread);
  // Prepares the code for a thread with these registers and signal mask (in an event stop). Throws
  // Error.
  void arm(const user_regs_struct& registers, std::uint64_t mask);

  // Address of a `syscall` instruction behind which the thread is put right.
  std::uint64_t plain_call() const { return address_; }
  // The same for a call that makes a new process, which must not get past it.
  std::uint64_t process_call() const;
  // Where a thread only puts itself right.
  std::uint64_t healing() const;

  // Puts back the bytes; throws Error.
  void close();
  // The same gate in a copy of the process (fork(2)), which is used and closed on its own.
  CallGate of_copy(pid_t pid) const { return CallGate(pid, address_, written_); }

private:
  CallGate(pid_t pid, std::uint64_t address, bool written)
      : memory_(pid), address_(address), written_(written) {}

  RemoteMemory memory_;
  std::uint64_t address_; // 0: closed
  bool written_;          // there are bytes to put back
};

} // namespace rrpcp::process
