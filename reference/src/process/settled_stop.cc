#include "process/settled_stop.h"

#include "base/bytes.h"
#include "process/interrupted_call.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <span>
#include <sys/syscall.h>
#include <sys/user.h>
#include <time.h>
#include <utility>
#include <vector>

namespace rrpcp::process {

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
  case SYS_io_uring_enter:
  // On sockets with a time-out (SO_RCVTIMEO, SO_SNDTIMEO of socket(7)).
  case SYS_accept:
  case SYS_accept4:
  case SYS_connect:
  case SYS_recvfrom:
  case SYS_recvmsg:
  case SYS_recvmmsg:
  case SYS_sendto:
  case SYS_sendmsg:
  case SYS_sendmmsg:
  case SYS_read:
  case SYS_readv:
  case SYS_write:
  case SYS_writev:
  case SYS_sendfile:
  case SYS_splice:
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

bool is_readable(RemoteMemory& memory, std::uint64_t address, std::size_t size) {
  std::array<std::byte, 16> bytes;
  return memory.read_some(address, std::span(bytes).first(size)) == size;
}

// Whether a call could be asleep until the time at an address is over.
bool is_time(RemoteMemory& memory, std::uint64_t address) {
  timespec time{};
  return memory.read_some(address, std::as_writable_bytes(std::span(&time, 1))) == sizeof time &&
         time.tv_sec >= 0 && time.tv_nsec >= 0 && time.tv_nsec < 1'000'000'000 &&
         (time.tv_sec != 0 || time.tv_nsec != 0);
}

// Whether a word of memory has this value.
bool is_word(RemoteMemory& memory, std::uint64_t address, std::uint32_t value) {
  std::uint32_t word = 0;
  return memory.read_some(address, std::as_writable_bytes(std::span(&word, 1))) == sizeof word &&
         word == value;
}

// Whether an interrupted call with these arguments can be the one of that number. These are all
// that the kernel continues by a note (restart_block of the kernel, whose users are in
// kernel/time, kernel/futex and fs/select.c).
bool fits(std::uint64_t number, const user_regs_struct& registers, RemoteMemory& memory) {
  const auto low = [](std::uint64_t value) { return static_cast<std::uint32_t>(value); };
  switch (number) {
  case SYS_poll: // descriptors, how many, milliseconds
    return low(registers.rdx) != 0 &&
           (low(registers.rsi) == 0 || is_readable(memory, registers.rdi, 8));
  case SYS_nanosleep: // time, what remains
    return is_time(memory, registers.rdi) &&
           (registers.rsi == 0 || is_readable(memory, registers.rsi, 16));
  case SYS_futex: { // word, operation, value, time
    constexpr std::uint32_t kWait = 0;
    constexpr std::uint32_t kWaitBitset = 9;
    const std::uint32_t operation = low(registers.rsi) & 0x7f;
    return (operation == kWait || operation == kWaitBitset) && registers.rdi % 4 == 0 &&
           is_readable(memory, registers.rdi, 4) && is_time(memory, registers.r10);
  }
  case SYS_clock_nanosleep: // clock, flags, time, what remains; absolute ones need no note
    return low(registers.rsi) == 0 && is_time(memory, registers.rdx);
  default:
    return false;
  }
}

// The number that the instruction in front of a `syscall` instruction loads (mov $number, %eax),
// where it is one of these.
std::optional<std::uint64_t> find_loaded_number(std::uint64_t call, RemoteMemory& memory,
                                                const std::vector<std::uint64_t>& of) {
  constexpr std::size_t kLoad = 5; // its length
  std::array<std::byte, 32> code;
  if (memory.read_some(call - code.size(), code) != code.size()) {
    return std::nullopt;
  }
  for (std::size_t at = code.size() - kLoad + 1; at-- > 0;) {
    const auto bytes = std::span(std::as_const(code)).subspan(at, kLoad);
    const auto number = load_le<std::uint32_t>(bytes, 1);
    if (bytes[0] == std::byte{0xb8} && std::find(of.begin(), of.end(), number) != of.end()) {
      return number;
    }
  }
  return std::nullopt;
}

// The number of the call that restart_syscall(2) continues, which the kernel has put in the place
// of that number: by the arguments, which are still there, and where those fit several calls, by
// the instruction that loads it, or else (where the number comes from elsewhere, as in syscall(3))
// by which is the least likely to fit by chance. `call` is the address of the `syscall`
// instruction.
std::optional<std::uint64_t> find_continued_call(const user_regs_struct& registers,
                                                 std::uint64_t call, RemoteMemory& memory) {
  std::vector<std::uint64_t> fitting;
  // In this order: a word that still has the value that is waited for; a time where poll(2) has
  // a small number; a time where a futex or descriptors are.
  for (std::uint64_t number : {SYS_futex, SYS_clock_nanosleep, SYS_nanosleep, SYS_poll}) {
    if (fits(number, registers, memory)) {
      fitting.push_back(number);
    }
  }
  if (fitting.size() <= 1) {
    return fitting.empty() ? std::nullopt : std::optional(fitting.front());
  }
  if (const std::optional<std::uint64_t> number = find_loaded_number(call, memory, fitting)) {
    return number;
  }
  if (fitting.front() == SYS_futex &&
      !is_word(memory, registers.rdi, static_cast<std::uint32_t>(registers.rdx))) {
    fitting.erase(fitting.begin());
  }
  return fitting.front();
}

// The kernel sends a thread back to its `syscall` instruction with the number of
// restart_syscall(2), and on a busy machine the next stop may find it there, before it has entered
// that call. Then it is made as it was before it was sent there, which is the same to the kernel.
void take_back_continuation(Tracee& tracee, RemoteMemory& memory, user_regs_struct& registers) {
  constexpr std::uint16_t kInstruction = 0x050f;
  std::uint16_t instruction = 0;
  if (registers.rax != SYS_restart_syscall ||
      memory.read_some(registers.rip, std::as_writable_bytes(std::span(&instruction, 1))) !=
          sizeof instruction ||
      instruction != kInstruction) {
    return;
  }
  registers.rax = static_cast<std::uint64_t>(kRestartBlock);
  registers.rip += kSyscallLength;
  if (static_cast<std::int64_t>(registers.orig_rax) < 0) { // it was in user space already
    registers.orig_rax = SYS_restart_syscall;
  }
  tracee.set_registers(registers);
}

} // namespace

bool name_continued_call(Tracee& tracee, RemoteMemory& memory) {
  user_regs_struct registers = tracee.registers();
  take_back_continuation(tracee, memory, registers);
  if (registers.orig_rax != SYS_restart_syscall ||
      static_cast<std::int64_t>(registers.rax) != kRestartBlock) {
    return true;
  }
  const std::optional<std::uint64_t> number =
      find_continued_call(registers, registers.rip - kSyscallLength, memory);
  if (number) {
    registers.orig_rax = *number;
    tracee.set_registers(registers);
  }
  return number.has_value();
}

void settle_stop(Tracee& tracee, RemoteMemory& memory) {
  name_continued_call(tracee, memory);
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

} // namespace rrpcp::process
