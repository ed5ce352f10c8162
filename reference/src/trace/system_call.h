// A system call of a task, with its arguments.
#pragma once

#include <array>
#include <cstdint>
#include <sys/user.h>

namespace rrpcp::trace {

// Length of the `syscall` instruction.
inline constexpr std::uint64_t kSyscallLength = 2;

// Results that the kernel uses itself for calls that a signal interrupted (linux/errno.h).
inline constexpr std::int64_t kRestartSystemCall = -512;  // ERESTARTSYS
inline constexpr std::int64_t kRestartNoInterrupt = -513; // ERESTARTNOINTR
inline constexpr std::int64_t kRestartNoHandler = -514;   // ERESTARTNOHAND
inline constexpr std::int64_t kRestartBlock = -516;       // ERESTART_RESTARTBLOCK

// x86-64: number and arguments as the registers at the entry have them.
struct SystemCall {
  long number = -1;
  std::array<std::uint64_t, 6> arguments{};

  SystemCall() = default;
  explicit SystemCall(const user_regs_struct& entry)
      : number(static_cast<long>(entry.orig_rax)), arguments{entry.rdi, entry.rsi, entry.rdx,
                                                             entry.r10, entry.r8,  entry.r9} {}

  std::uint64_t operator[](std::size_t i) const { return arguments[i]; }
};

inline bool is_restart(std::int64_t result) {
  return result == kRestartSystemCall || result == kRestartNoInterrupt ||
         result == kRestartNoHandler || result == kRestartBlock;
}

} // namespace rrpcp::trace
