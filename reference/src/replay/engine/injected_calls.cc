#include "replay/engine/injected_calls.h"

#include "process/remote_calls.h"
#include "rrpcp/error.h"

#include <csignal>
#include <string>
#include <sys/ptrace.h>
#include <utility>

namespace rrpcp::replay {

namespace {

// `syscall`, as the two lowest bytes of a little-endian word.
constexpr std::uint64_t kSyscallInstruction = 0x050f;

bool at_entry(const process::Tracee& tracee) {
  __ptrace_syscall_info info{};
  return ::ptrace(static_cast<__ptrace_request>(PTRACE_GET_SYSCALL_INFO), tracee.tid(), sizeof info,
                  &info) > 0 &&
         info.op == PTRACE_SYSCALL_INFO_ENTRY;
}

} // namespace

SyscallSite::SyscallSite(process::Tracee& tracee, const std::vector<process::ProcMapping>& mappings)
    : tracee_(tracee) {
  if (std::optional<std::uint64_t> found =
          process::find_syscall_instruction(tracee.tid(), mappings)) {
    address_ = *found;
    return;
  }
  address_ = tracee_.registers().rip;
  overwritten_ = tracee_.peek(address_);
  tracee_.poke(address_, (*overwritten_ & ~std::uint64_t{0xffff}) | kSyscallInstruction);
}

SyscallSite::~SyscallSite() {
  try {
    close();
  } catch (const Error&) {
    // The thread is gone, and its memory with it.
  }
}

void SyscallSite::close() {
  if (overwritten_) {
    tracee_.poke(address_, *std::exchange(overwritten_, std::nullopt));
  }
}

std::int64_t InjectedCalls::call_with(long number, const std::array<std::uint64_t, 6>& arguments) {
  user_regs_struct registers = base_;
  registers.rip = instruction_;
  registers.orig_rax = ~std::uint64_t{0}; // not in a call: nothing to restart
  registers.rax = static_cast<std::uint64_t>(number);
  registers.rdi = arguments[0];
  registers.rsi = arguments[1];
  registers.rdx = arguments[2];
  registers.r10 = arguments[3];
  registers.r8 = arguments[4];
  registers.r9 = arguments[5];
  tracee_.set_registers(registers);
  new_task_.reset();
  bool entered = false;
  for (;;) {
    tracee_.resume(PTRACE_SYSCALL);
    const pid_t tid = tracee_.tid();
    const process::TraceeStop stop = tracee_.wait();
    if (stop.gone()) {
      throw Error(ErrorCode::kProcessGone, "thread " + std::to_string(tid) + " ended meanwhile");
    }
    if (stop.syscall_stop()) {
      // The first stop may be the end of a call that the task stood at the entry of.
      if (!entered) {
        entered = at_entry(tracee_);
        continue;
      }
      return static_cast<std::int64_t>(tracee_.registers().rax);
    }
    if (stop.event() == PTRACE_EVENT_CLONE || stop.event() == PTRACE_EVENT_FORK ||
        stop.event() == PTRACE_EVENT_VFORK) {
      new_task_ = static_cast<pid_t>(tracee_.event_message());
    } else if (stop.signal() == SIGSEGV || stop.signal() == SIGBUS || stop.signal() == SIGILL) {
      throw Error(ErrorCode::kInternal,
                  "a system call that thread " + std::to_string(tracee_.tid()) +
                      " was to make ended in signal " + std::to_string(stop.signal()));
    } else if (stop.signal() == SIGSTOP) {
      stop_discarded_ = true;
    }
  }
}

std::uint64_t InjectedCalls::check(std::string_view what, std::int64_t result) const {
  if (result < 0 && result >= -4095) {
    throw system_error(static_cast<int>(-result),
                       std::string(what) + " in process " + std::to_string(tracee_.tid()));
  }
  return static_cast<std::uint64_t>(result);
}

} // namespace rrpcp::replay
