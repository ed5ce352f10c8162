#include "process/remote_calls.h"

#include "base/page.h"
#include "process/interrupted_call.h"
#include "process/remote_memory.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <sched.h>
#include <string>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <utility>
#include <vector>

namespace rrpcp::process {

namespace {

// `syscall`, as the two lowest bytes of a little-endian word.
constexpr std::uint64_t kSyscallInstruction = 0x050f;

// How long a child is waited for that a killed tracer has left.
constexpr std::chrono::seconds kEndPatience(2);

// Offset of a `syscall` instruction in the memory [start, end); nothing where there is none.
std::optional<std::uint64_t> search(RemoteMemory& memory, const ProcMapping& mapping) {
  constexpr std::uint64_t kPiece = 4 << 10; // there is one in each few pages of most programs
  std::array<std::byte, kPiece> bytes;
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
      original_mask_(tracee.signal_mask()), blocked_(kAllSignals) {
  const bool at_entry = is_at_entry();
  instruction_ = instruction.value_or(original_.rip);
  suspend_dispatch();
  if (!instruction) {
    overwritten_ = tracee_.peek(instruction_);
    tracee_.poke(instruction_, (*overwritten_ & ~std::uint64_t{0xffff}) | kSyscallInstruction);
  }
  take_over(at_entry);
}

RemoteCalls::RemoteCalls(Tracee& tracee, CallGate& gate)
    : tracee_(tracee), gate_(&gate), instruction_(gate.plain_call()), original_(tracee.registers()),
      original_mask_(tracee.signal_mask()), blocked_(kAllSignals) {
  const bool at_entry = is_at_entry();
  suspend_dispatch();
  gate_->arm(original_, original_mask_);
  take_over(at_entry);
}

RemoteCalls::RemoteCalls(Tracee& tracee, ReturnGate& gate)
    : tracee_(tracee), return_(&gate), stack_(gate.way_back()),
      instruction_(gate.code().call_and_return), original_(tracee.registers()),
      original_mask_(tracee.signal_mask()), blocked_(kAllSignals) {
  const bool at_entry = is_at_entry();
  return_->arm(tracee, original_, original_mask_);
  suspend_dispatch();
  take_over(at_entry);
}

void RemoteCalls::take_over(bool at_entry) {
  // In this order, wherever we may be killed: in a call with a mask of its own, this ends that mask
  // and makes the call set it anew when it is restarted; …
  tracee_.set_signal_mask(original_mask_);
  // … from here on the thread makes itself as it was, its mask too, before anything else.
  tracee_.set_registers(way_back());
  tracee_.set_signal_mask(blocked_);
  if (at_entry) {
    try {
      run_to_syscall_stop();
    } catch (const Error&) {
      finish();
      throw;
    }
  }
}

void RemoteCalls::suspend_dispatch() {
  const std::optional<SyscallDispatch> dispatch = tracee_.syscall_dispatch();
  if (!dispatch) {
    // What a kernel does that dispatches a call while the signal is blocked cannot be undone: it
    // takes away the program's handler. Not blocked, the signal is seen and taken away.
    blocked_ = kAllSignals & ~(std::uint64_t{1} << (SIGSYS - 1));
    return;
  }
  if (dispatch->mode == 0) {
    return;
  }
  if (dispatch->selector != 0) {
    RemoteMemory memory(tracee_.tid());
    constexpr std::uint8_t kAllow = 0; // SYSCALL_DISPATCH_FILTER_ALLOW
    if (memory.read_value<std::uint8_t>(dispatch->selector) == kAllow) {
      return;
    }
  }
  tracee_.set_syscall_dispatch({});
  dispatch_ = dispatch;
}

void RemoteCalls::resume_dispatch() {
  if (dispatch_) {
    tracee_.set_syscall_dispatch(*dispatch_);
    dispatch_.reset();
  }
}

// Whether an earlier object has left the thread at the entry of a call with a mask of its own. Then
// the registers are made those that the interrupted call had; without its number the call is passed
// over at the next resumption, which ends at its exit.
bool RemoteCalls::is_at_entry() {
  if (!tracee_.at_restarted_call()) {
    return false;
  }
  original_.rax = static_cast<std::uint64_t>(kRestartNoHandler);
  return true;
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
    constexpr int kUserDispatch = 2; // SYS_USER_DISPATCH of siginfo
    if (signal == SIGSYS && tracee_.signal_info().si_code == kUserDispatch) {
      // The signal is not delivered, nor was the call made.
      throw Error(ErrorCode::kUnsupportedState,
                  "thread " + std::to_string(tracee_.tid()) +
                      " has its system calls dispatched to itself (syscall user dispatch), which "
                      "this kernel does not tell about (Linux 6.4 does)");
    }
    if (signal != 0 && signal != SIGSTOP) {
      throw Error(ErrorCode::kInternal,
                  "a system call that thread " + std::to_string(tracee_.tid()) +
                      " was to make ended in signal " + std::to_string(signal));
    }
  }
}

user_regs_struct RemoteCalls::way_back() const {
  if (return_ == nullptr) {
    return registers_at(gate_ != nullptr ? gate_->healing() : instruction_);
  }
  user_regs_struct registers = registers_at(return_->code().sigreturn);
  registers.rsp = stack_;
  return registers;
}

user_regs_struct RemoteCalls::registers_at(std::uint64_t address) const {
  user_regs_struct registers = original_;
  registers.rip = address;
  // Not inside a system call: the kernel must not "restart" anything here.
  registers.orig_rax = ~std::uint64_t{0};
  return registers;
}

std::int64_t RemoteCalls::call_with(long number, const std::array<std::uint64_t, 6>& arguments) {
  const bool new_process = number == SYS_clone || number == SYS_fork || number == SYS_clone3;
  user_regs_struct registers = way_back();
  registers.rip = gate_ != nullptr && new_process ? gate_->process_call() : instruction_;
  registers.rax = static_cast<std::uint64_t>(number);
  registers.rdi = arguments[0];
  registers.rsi = arguments[1];
  registers.rdx = arguments[2];
  registers.r10 = arguments[3];
  registers.r8 = arguments[4];
  registers.r9 = arguments[5];
  if (return_ != nullptr) {
    // From there the thread returns to its way back.
    registers.rsp = ReturnGate::behind_call(stack_);
    if (number == SYS_clone && registers.rsi == 0) {
      registers.rsi = ReturnGate::behind_call(return_->way_out());
    }
  }
  tracee_.set_registers(registers);
  std::int64_t result = 0;
  do {
    run_to_syscall_stop(); // entry
    run_to_syscall_stop(); // exit
    result = static_cast<std::int64_t>(tracee_.registers().rax);
    // Where the process is being stopped the kernel takes that up first, and makes the call then.
  } while (will_be_restarted(result));
  return result;
}

std::int64_t RemoteCalls::clone_child(std::uint64_t flags) {
  stack_ = return_->way_back_by_call();
  const std::int64_t child =
      call(SYS_clone, flags | CLONE_PARENT_SETTID, 0, return_->child_id(), 0, 0);
  if (child < 0) {
    stack_ = return_->way_back();
    tracee_.set_registers(way_back());
  }
  return child;
}

std::int64_t RemoteCalls::wait_for_child(std::int64_t child) {
  const std::int64_t reaped = call(SYS_wait4, static_cast<std::uint64_t>(child), 0, __WALL, 0);
  take_way_back(); // with the child's id forgotten, which another may have soon
  return reaped;
}

std::int64_t RemoteCalls::map_page(std::uint64_t address) {
  if (return_ != nullptr) {
    return_->unmap_first(address, kPage);
    stack_ = return_->way_back_by_call();
  }
  const std::int64_t result =
      call(SYS_mmap, address, kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
           ~std::uint64_t{0}, 0);
  if (result != static_cast<std::int64_t>(address)) {
    take_way_back();
  }
  return result;
}

void RemoteCalls::unmap_page(std::uint64_t address) {
  call(SYS_munmap, address, kPage);
  take_way_back();
}

void RemoteCalls::take_way_back() {
  if (return_ != nullptr) {
    stack_ = return_->way_back();
    tracee_.set_registers(way_back());
    return_->wait_first();
  }
}

std::uint64_t RemoteCalls::check(std::string_view what, std::int64_t result) const {
  if (result < 0 && result >= -4095) {
    throw system_error(static_cast<int>(-result),
                       std::string(what) + " in process " + std::to_string(tracee_.tid()));
  }
  return static_cast<std::uint64_t>(result);
}

bool RemoteCalls::mask_belongs_to_call() const {
  if (static_cast<std::int64_t>(original_.rax) != kRestartNoHandler) {
    return false;
  }
  switch (original_.orig_rax) {
  case SYS_rt_sigsuspend:
  case SYS_pselect6:
  case SYS_ppoll:
  case SYS_epoll_pwait:
  case SYS_epoll_pwait2:
  case SYS_io_pgetevents:
    return true;
  default:
    return false;
  }
}

void RemoteCalls::finish() {
  if (std::exchange(finished_, true)) {
    return;
  }
  // In this order, wherever we may be killed: the thread stands at its way back, …
  tracee_.set_registers(way_back());
  if (!tracee_.last_stop().event_stop()) {
    // From a system-call stop to the event stop that follows it; no instruction runs in between.
    tracee_.stop();
  }
  resume_dispatch();
  // … has its mask, which the way back would set too, …
  tracee_.set_signal_mask(original_mask_);
  if (overwritten_) {
    tracee_.poke(instruction_, *overwritten_);
  }
  // … and is as it was.
  tracee_.set_registers(original_);
  if (mask_belongs_to_call()) {
    restart_with_own_mask();
  }
}

// The kernel restarts the call, and stops the thread where the call has begun and looks at signals
// no more before it has set its mask. A signal that comes before that, and that this mask may
// block, goes back into its queue: the kernel puts it there where it is blocked meanwhile. For that
// the thread goes to the beginning of its way back, which would undo it if we were killed; what it
// enters there becomes the call.
void RemoteCalls::restart_with_own_mask() {
  bool on_way_back = false;
  int signal = 0;
  for (;;) {
    tracee_.resume(PTRACE_SYSCALL, signal);
    const TraceeStop stop = tracee_.wait_stop();
    if (stop.syscall_stop()) {
      break;
    }
    signal = stop.signal();
    if (signal != 0 && signal != SIGSTOP) {
      if (gate_ != nullptr || return_ != nullptr) {
        tracee_.set_registers(way_back());
        on_way_back = true;
      }
      tracee_.set_signal_mask(kAllSignals);
    }
  }
  tracee_.set_signal_mask(original_mask_);
  if (on_way_back) {
    user_regs_struct registers = original_;
    registers.rax = static_cast<std::uint64_t>(-ENOSYS); // as the kernel has it at an entry
    tracee_.set_registers(registers);
  }
  tracee_.note_restarted_call();
}

bool recover_thread(Tracee& thread, ReturnGate& gate) {
  if (!gate.recover(thread)) {
    return false;
  }
  if (const auto [address, length] = gate.left(); length != 0) {
    RemoteCalls calls(thread, gate);
    calls.call(SYS_munmap, address, length);
    calls.finish();
  }
  if (const pid_t child = gate.left_child(); child != 0) {
    const auto deadline = std::chrono::steady_clock::now() + kEndPatience;
    RemoteCalls calls(thread, gate);
    while (calls.call(SYS_wait4, static_cast<std::uint64_t>(child), 0, __WALL | WNOHANG, 0) == 0 &&
           std::chrono::steady_clock::now() < deadline) {
      const timespec nap{0, 200'000};
      ::nanosleep(&nap, nullptr);
    }
    calls.finish();
  }
  return true;
}

} // namespace rrpcp::process
