#include "process/remote_calls.h"

#include "process/remote_memory.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <utility>
#include <vector>

namespace rrpcp {

namespace {

// `syscall`, as the two lowest bytes of a little-endian word.
constexpr std::uint64_t kSyscallInstruction = 0x050f;
constexpr std::uint64_t kAllSignals = ~std::uint64_t{0};

// Offset of a `syscall` instruction in the memory [start, end); nothing where there is none.
std::optional<std::uint64_t> search(RemoteMemory& memory, const ProcMapping& mapping) {
  constexpr std::uint64_t kPiece = 64 << 10;
  std::vector<std::byte> bytes(kPiece);
  for (std::uint64_t at = mapping.start; at < mapping.end; at += kPiece - 1) {
    std::span<std::byte> piece =
        std::span(bytes).first(std::min<std::uint64_t>(kPiece, mapping.end - at));
    piece = piece.first(memory.read_some(at, piece));
    static constexpr std::byte kBytes[] = {std::byte{0x0f}, std::byte{0x05}};
    auto found = std::search(piece.begin(), piece.end(), std::begin(kBytes), std::end(kBytes));
    if (found != piece.end()) {
      return at + static_cast<std::uint64_t>(found - piece.begin());
    }
  }
  return std::nullopt;
}

} // namespace

std::optional<std::uint64_t> find_syscall_instruction(pid_t pid,
                                                      const std::vector<ProcMapping>& mappings) {
  RemoteMemory memory(pid);
  auto usable = [](const ProcMapping& mapping) {
    constexpr std::uint32_t kNeeded = PROT_READ | PROT_EXEC;
    return (mapping.protection & kNeeded) == kNeeded && mapping.name != "[vsyscall]";
  };
  for (bool vdso : {true, false}) {
    for (const ProcMapping& mapping : mappings) {
      if (usable(mapping) && (mapping.name == "[vdso]") == vdso) {
        if (std::optional<std::uint64_t> address = search(memory, mapping)) {
          return address;
        }
      }
    }
  }
  return std::nullopt;
}

RemoteCalls::RemoteCalls(Tracee& tracee, std::optional<std::uint64_t> instruction)
    : tracee_(tracee), instruction_(0), original_(tracee.registers()),
      original_mask_(tracee.signal_mask()) {
  instruction_ = instruction.value_or(original_.rip);
  if (!instruction) {
    overwritten_ = tracee_.peek(instruction_);
    tracee_.poke(instruction_, (*overwritten_ & ~std::uint64_t{0xffff}) | kSyscallInstruction);
  }
  tracee_.set_signal_mask(kAllSignals);
}

RemoteCalls::~RemoteCalls() {
  try {
    finish();
  } catch (const Error&) {
    // The thread is gone; nothing is left to put back.
  }
}

std::optional<pid_t> RemoteCalls::take_new_thread() {
  return std::exchange(new_thread_, std::nullopt);
}

void RemoteCalls::run_to_syscall_stop() {
  int signal = 0;
  for (;;) {
    tracee_.resume(PTRACE_SYSCALL, signal);
    TraceeStop stop = tracee_.wait_stop();
    if (stop.syscall_stop()) {
      return;
    }
    if (stop.event() == PTRACE_EVENT_CLONE || stop.event() == PTRACE_EVENT_FORK ||
        stop.event() == PTRACE_EVENT_VFORK) {
      new_thread_ = static_cast<pid_t>(tracee_.event_message());
    }
    // Only SIGSTOP gets through the mask, and what an exception in the thread forces upon it.
    signal = stop.signal();
    if (signal != 0 && signal != SIGSTOP) {
      throw Error(ErrorCode::kInternal,
                  "a system call that thread " + std::to_string(tracee_.tid()) +
                      " was to make ended in signal " + std::to_string(signal));
    }
  }
}

std::int64_t RemoteCalls::call_with(long number, const std::array<std::uint64_t, 6>& arguments) {
  user_regs_struct registers = original_;
  registers.rip = instruction_;
  registers.rax = static_cast<std::uint64_t>(number);
  // Not inside a system call: the kernel must not "restart" the one that we are about to make.
  registers.orig_rax = ~std::uint64_t{0};
  registers.rdi = arguments[0];
  registers.rsi = arguments[1];
  registers.rdx = arguments[2];
  registers.r10 = arguments[3];
  registers.r8 = arguments[4];
  registers.r9 = arguments[5];
  tracee_.set_registers(registers);
  run_to_syscall_stop(); // entry
  run_to_syscall_stop(); // exit
  return static_cast<std::int64_t>(tracee_.registers().rax);
}

std::uint64_t RemoteCalls::check(std::string_view what, std::int64_t result) const {
  if (result < 0 && result >= -4095) {
    throw system_error(static_cast<int>(-result),
                       std::string(what) + " in process " + std::to_string(tracee_.tid()));
  }
  return static_cast<std::uint64_t>(result);
}

void RemoteCalls::finish() {
  if (std::exchange(finished_, true)) {
    return;
  }
  if (!tracee_.last_stop().event_stop()) {
    // From a system-call stop to the event stop that follows it; no instruction runs in between.
    tracee_.stop();
  }
  if (overwritten_) {
    tracee_.poke(instruction_, *overwritten_);
  }
  tracee_.set_registers(original_);
  tracee_.set_signal_mask(original_mask_);
}

} // namespace rrpcp
