#include "process/settled_stop.h"

#include "process/interrupted_call.h"
#include "rrpcp/error.h"

#include <cerrno>
#include <cstdint>
#include <optional>
#include <sys/syscall.h>
#include <sys/user.h>

namespace rrpcp {

namespace {

// struct rseq_cs of linux/rseq.h.
struct RseqSection {
  std::uint32_t version;
  std::uint32_t flags;
  std::uint64_t start;
  std::uint64_t length;
  std::uint64_t abort_handler;
};

// Offset of the pointer to the current section in struct rseq.
constexpr std::uint64_t kRseqSectionOffset = 8;

// Calls that give EINTR by themselves when a signal is pending or the thread is to stop, and that
// have done nothing by then.
bool restarts_cleanly(std::uint64_t number) {
  switch (number) {
  case SYS_epoll_wait:
  case SYS_epoll_pwait:
  case SYS_epoll_pwait2:
  case SYS_semop:
  case SYS_semtimedop:
  case SYS_rt_sigtimedwait:
  case SYS_io_getevents:
  case SYS_io_pgetevents:
  // On sockets with a time-out (SO_RCVTIMEO, SO_SNDTIMEO of socket(7)).
  case SYS_accept:
  case SYS_accept4:
  case SYS_recvfrom:
  case SYS_recvmsg:
  case SYS_recvmmsg:
  case SYS_sendto:
  case SYS_sendmsg:
    return true;
  default:
    return false;
  }
}

// Address of the abort handler where the thread is inside of a restartable sequence.
std::optional<std::uint64_t> rseq_abort(const Tracee& tracee, RemoteMemory& memory,
                                        std::uint64_t position) {
  std::optional<RseqConfiguration> rseq = tracee.rseq();
  if (!rseq) {
    return std::nullopt;
  }
  std::uint64_t address = 0;
  if (memory.read_some(rseq->address + kRseqSectionOffset,
                       std::as_writable_bytes(std::span(&address, 1))) != sizeof address ||
      address == 0) {
    return std::nullopt;
  }
  RseqSection section;
  if (memory.read_some(address, std::as_writable_bytes(std::span(&section, 1))) != sizeof section ||
      position - section.start >= section.length) {
    return std::nullopt;
  }
  return section.abort_handler;
}

} // namespace

void settle_stop(Tracee& tracee, RemoteMemory& memory) {
  user_regs_struct registers = tracee.registers();
  if (static_cast<std::int64_t>(registers.orig_rax) >= 0) {
    // In a process that was stopped by a signal the call has failed by that signal, not by us.
    if (static_cast<std::int64_t>(registers.rax) == -EINTR &&
        restarts_cleanly(registers.orig_rax) && !tracee.last_stop().group_stop()) {
      registers.rax = static_cast<std::uint64_t>(kRestartNoHandler);
      tracee.set_registers(registers);
    }
    return; // not inside of a sequence: system calls are forbidden there
  }
  if (std::optional<std::uint64_t> handler = rseq_abort(tracee, memory, registers.rip)) {
    registers.rip = *handler;
    tracee.set_registers(registers);
  }
}

} // namespace rrpcp
