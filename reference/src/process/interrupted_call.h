// Where a thread goes on that was stopped inside of a system call.
#pragma once

#include <cstdint>
#include <sys/syscall.h>
#include <sys/user.h>

namespace rrpcp::process {

// What the kernel leaves in rax of a thread that it has interrupted in a system call and will
// restart (linux/errno.h of the kernel): always, always, unless a handler runs, and by what it
// noted itself (restart_syscall(2)).
constexpr std::int64_t kRestartSys = -512;
constexpr std::int64_t kRestartNoIntr = -513;
constexpr std::int64_t kRestartNoHandler = -514;
constexpr std::int64_t kRestartBlock = -516;

// Whether a call that gives this back is made anew as soon as the thread is resumed.
inline bool will_be_restarted(std::int64_t result) {
  return result == kRestartSys || result == kRestartNoIntr || result == kRestartNoHandler ||
         result == kRestartBlock;
}

// The length of a `syscall` instruction.
constexpr std::uint64_t kSyscallLength = 2;

// Registers that execute the interrupted call again, as the kernel itself would arrange it
// (arch/x86 of the kernel, arch_do_signal_or_restart); others as they are. `note_is_lost`: what the
// kernel noted for restart_syscall(2) will not be there any more, so that such a call starts from
// its beginning.
inline user_regs_struct to_go_on(user_regs_struct registers, bool note_is_lost) {
  if (static_cast<std::int64_t>(registers.orig_rax) < 0) {
    return registers;
  }
  switch (static_cast<std::int64_t>(registers.rax)) {
  case kRestartSys:
  case kRestartNoIntr:
  case kRestartNoHandler:
    registers.rax = registers.orig_rax;
    registers.rip -= kSyscallLength;
    break;
  case kRestartBlock:
    registers.rax = note_is_lost ? registers.orig_rax : SYS_restart_syscall;
    registers.rip -= kSyscallLength;
    break;
  default:
    break;
  }
  registers.orig_rax = ~std::uint64_t{0};
  return registers;
}

} // namespace rrpcp::process
