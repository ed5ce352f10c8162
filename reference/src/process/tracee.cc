#include "process/tracee.h"

#include "process/proc_status.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <elf.h>
#include <sched.h>
#include <string>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <utility>

namespace rrpcp::process {

namespace {

constexpr int kSyscallSignal = SIGTRAP | 0x80; // PTRACE_O_TRACESYSGOOD

// ptrace(2) with every argument as an integer: what the kernel takes.
long trace(int request, pid_t tid, std::uintptr_t address = 0, std::uintptr_t data = 0) {
  return ::ptrace(static_cast<__ptrace_request>(request), tid, reinterpret_cast<void*>(address),
                  reinterpret_cast<void*>(data));
}

template <typename T> std::uintptr_t as_data(T* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer);
}

Error ended_thread(pid_t tid) {
  return Error(ErrorCode::kProcessGone, "thread " + std::to_string(tid) + " ended meanwhile");
}

// Why PTRACE_SEIZE was refused: the kernel says EPERM for very different reasons.
Error seize_error(pid_t tid, int errno_value) {
  std::string thread = "process " + std::to_string(tid);
  if (errno_value == ESRCH) {
    return Error(ErrorCode::kNotFound, "there is no " + thread);
  }
  std::optional<ProcStatus> status = ProcStatus::try_read(tid, tid);
  if (!status) {
    return Error(ErrorCode::kNotFound, "there is no " + thread);
  }
  if (status->state == 'Z' || status->state == 'X') {
    return Error(ErrorCode::kProcessGone, thread + " has ended; its parent " +
                                              std::to_string(status->parent) +
                                              " did not ask for its exit status yet");
  }
  if (status->tracer != 0) {
    return Error(ErrorCode::kAlreadyTraced,
                 thread + " is traced by process " + std::to_string(status->tracer) + " already")
        .with_hint("detach that debugger or tracer first");
  }
  if (status->kernel_thread) {
    return Error(ErrorCode::kUnsupportedState, thread + " is a thread of the kernel");
  }
  if (errno_value == EPERM || errno_value == EACCES) {
    return Error(ErrorCode::kPermission, "no permission to trace " + thread)
        .with_errno(errno_value)
        .with_hint("run as the same user or as root; see also "
                   "/proc/sys/kernel/yama/ptrace_scope and prctl(2) PR_SET_DUMPABLE");
  }
  return system_error(errno_value, "cannot trace " + thread);
}

bool is_stop_signal(int signal) {
  return signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
}

} // namespace

bool TraceeStop::gone() const {
  return WIFEXITED(status_) || WIFSIGNALED(status_);
}

bool TraceeStop::event_stop() const {
  return WIFSTOPPED(status_) && (status_ >> 16) == PTRACE_EVENT_STOP;
}

bool TraceeStop::group_stop() const {
  return event_stop() && is_stop_signal(WSTOPSIG(status_));
}

bool TraceeStop::syscall_stop() const {
  return WIFSTOPPED(status_) && WSTOPSIG(status_) == kSyscallSignal;
}

int TraceeStop::event() const {
  return WIFSTOPPED(status_) && !event_stop() ? status_ >> 16 : 0;
}

int TraceeStop::signal() const {
  return WIFSTOPPED(status_) && (status_ >> 16) == 0 && !syscall_stop() ? WSTOPSIG(status_) : 0;
}

Tracee Tracee::seize(pid_t tid, std::uintptr_t options) {
  if (trace(PTRACE_SEIZE, tid, 0, options) != 0) {
    throw seize_error(tid, errno);
  }
  return Tracee(tid, false);
}

Tracee Tracee::adopt(pid_t tid, bool stopped) {
  return Tracee(tid, stopped);
}

Tracee::Tracee(Tracee&& other) noexcept
    : tid_(std::exchange(other.tid_, 0)), stopped_(std::exchange(other.stopped_, false)),
      at_restarted_call_(other.at_restarted_call_), last_request_(other.last_request_),
      last_stop_(other.last_stop_) {}

Tracee& Tracee::operator=(Tracee&& other) noexcept {
  if (this != &other) {
    std::swap(tid_, other.tid_);
    std::swap(stopped_, other.stopped_);
    std::swap(at_restarted_call_, other.at_restarted_call_);
    std::swap(last_request_, other.last_request_);
    std::swap(last_stop_, other.last_stop_);
    std::swap(registers_, other.registers_);
  }
  return *this;
}

Tracee::~Tracee() {
  if (attached() && stopped_) {
    trace(PTRACE_DETACH, tid_);
  }
}

void Tracee::fail(std::string_view what) const {
  int errno_value = errno;
  if (errno_value == ESRCH) {
    throw ended_thread(tid_);
  }
  throw system_error(errno_value,
                     std::string(what) + " of thread " + std::to_string(tid_) + " failed");
}

void Tracee::set_options(std::uintptr_t options) {
  if (trace(PTRACE_SETOPTIONS, tid_, 0, options) != 0) {
    fail("setting the trace options");
  }
}

std::uint64_t Tracee::event_message() const {
  unsigned long message = 0;
  if (trace(PTRACE_GETEVENTMSG, tid_, 0, as_data(&message)) != 0) {
    fail("reading the trace event");
  }
  return message;
}

void Tracee::interrupt() {
  if (trace(PTRACE_INTERRUPT, tid_) != 0) {
    fail("interrupting");
  }
}

void Tracee::resume(int request, int signal) {
  if (trace(request, tid_, 0, static_cast<std::uintptr_t>(signal)) != 0) {
    fail("resuming");
  }
  registers_.reset();
  stopped_ = false;
  at_restarted_call_ = false;
  last_request_ = request;
}

bool Tracee::pass_filter_stop() {
  if (!stopped_ || last_request_ != PTRACE_SYSCALL || last_stop_.event() != PTRACE_EVENT_SECCOMP) {
    return false;
  }
  if (event_message() != own_filter_data) {
    user_regs_struct skipped = registers();
    skipped.orig_rax = ~std::uint64_t{0};
    skipped.rax = static_cast<std::uint64_t>(-ENOSYS);
    set_registers(skipped);
  }
  resume(PTRACE_SYSCALL);
  return true;
}

TraceeStop Tracee::wait() {
  for (;;) {
    int status = 0;
    pid_t result = ::waitpid(tid_, &status, __WALL | __WNOTHREAD);
    if (result == tid_) {
      take_report(status);
      if (pass_filter_stop()) {
        continue;
      }
      return last_stop_;
    }
    if (errno == ECHILD) {
      throw ended_thread(tid_);
    }
    if (errno != EINTR) {
      fail("waiting for a stop");
    }
  }
}

std::optional<TraceeStop> Tracee::wait_for(std::chrono::milliseconds timeout) {
  // waitpid(2) has no time limit. A thread stops within microseconds as a rule: give up the
  // processor a few times first, then sleep for longer and longer.
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  for (int attempt = 0;; ++attempt) {
    int status = 0;
    pid_t result = ::waitpid(tid_, &status, __WALL | __WNOTHREAD | WNOHANG);
    if (result == tid_) {
      take_report(status);
      if (pass_filter_stop()) {
        continue;
      }
      return last_stop_;
    }
    if (result < 0 && errno == ECHILD) {
      throw ended_thread(tid_);
    }
    if (result < 0 && errno != EINTR) {
      fail("waiting for a stop");
    }
    const Clock::duration waited = Clock::now() - start;
    if (waited >= timeout) {
      return std::nullopt;
    }
    if (attempt < 50) {
      ::sched_yield();
    } else {
      // Never much longer than it has taken so far.
      constexpr Clock::duration kShortest = std::chrono::microseconds(10);
      constexpr Clock::duration kLongest = std::chrono::milliseconds(5);
      const timespec nap{
          0, std::chrono::nanoseconds(std::clamp(waited / 8, kShortest, kLongest)).count()};
      ::nanosleep(&nap, nullptr);
    }
  }
}

TraceeStop Tracee::take_report(int status) {
  last_stop_ = TraceeStop(status);
  registers_.reset();
  stopped_ = !last_stop_.gone();
  if (!stopped_) {
    tid_ = 0;
  }
  return last_stop_;
}

TraceeStop Tracee::wait_stop(std::chrono::milliseconds patience) {
  pid_t tid = tid_;
  std::optional<TraceeStop> stop = wait_for(patience);
  if (!stop) {
    throw Error(ErrorCode::kSystem, "thread " + std::to_string(tid) + " reported nothing for " +
                                        std::to_string(patience.count() / 1000) + " s")
        .with_hint("it waits in the kernel and cannot be interrupted (state D); try again later");
  }
  if (stop->gone()) {
    throw ended_thread(tid);
  }
  return *stop;
}

void Tracee::stop(std::chrono::milliseconds timeout) {
  if (stopped_ && last_stop_.event_stop()) {
    return;
  }
  interrupt();
  if (stopped_) {
    resume(PTRACE_CONT, last_stop_.signal());
  }
  await_event_stop(timeout);
}

void Tracee::await_event_stop(std::chrono::milliseconds timeout) {
  if (!await_event_stop_for(timeout)) {
    throw Error(ErrorCode::kSystem, "thread " + std::to_string(tid_) + " did not stop in time")
        .with_hint("it waits in the kernel and cannot be interrupted (state D); try again later");
  }
}

bool Tracee::await_event_stop_for(std::chrono::milliseconds timeout) {
  pid_t tid = tid_;
  for (;;) {
    std::optional<TraceeStop> stop = wait_for(timeout);
    if (!stop) {
      return false;
    }
    if (stop->gone()) {
      throw ended_thread(tid);
    }
    if (stop->event_stop()) {
      return true;
    }
    // Any other stop has used up the request for an event stop.
    interrupt();
    resume(PTRACE_CONT, stop->signal());
  }
}

void Tracee::detach(int signal) {
  if (trace(PTRACE_DETACH, tid_, 0, static_cast<std::uintptr_t>(signal)) != 0) {
    fail("detaching");
  }
  release();
}

void Tracee::release() {
  tid_ = 0;
  stopped_ = false;
  registers_.reset();
}

std::optional<std::vector<std::byte>> Tracee::register_set(std::uint32_t note_type) const {
  // The largest set by far is XSAVE, below 12 KiB with AMX tiles.
  std::vector<std::byte> bytes(16384);
  for (;;) {
    iovec area{bytes.data(), bytes.size()};
    if (trace(PTRACE_GETREGSET, tid_, note_type, as_data(&area)) != 0) {
      if (errno == EINVAL || errno == EIO || errno == ENODEV || errno == ENXIO ||
          errno == EOPNOTSUPP) {
        return std::nullopt;
      }
      fail("reading registers");
    }
    if (area.iov_len < bytes.size()) {
      bytes.resize(area.iov_len);
      bytes.shrink_to_fit();
      return area.iov_len != 0 ? std::optional(std::move(bytes)) : std::nullopt;
    }
    bytes.resize(bytes.size() * 2);
  }
}

void Tracee::set_register_set(std::uint32_t note_type, std::span<const std::byte> bytes) {
  iovec area{const_cast<std::byte*>(bytes.data()), bytes.size()};
  registers_.reset(); // the kernel need not take all of them
  if (trace(PTRACE_SETREGSET, tid_, note_type, as_data(&area)) != 0) {
    fail("setting registers");
  }
}

user_regs_struct Tracee::registers() const {
  if (registers_) {
    return *registers_;
  }
  user_regs_struct registers;
  iovec area{&registers, sizeof registers};
  if (trace(PTRACE_GETREGSET, tid_, NT_PRSTATUS, as_data(&area)) != 0) {
    fail("reading registers");
  }
  if (area.iov_len != sizeof registers) {
    throw Error(ErrorCode::kUnsupportedState,
                "thread " + std::to_string(tid_) + " runs in 32-bit mode");
  }
  registers_ = registers;
  return registers;
}

void Tracee::set_registers(const user_regs_struct& registers) {
  set_register_set(NT_PRSTATUS, std::as_bytes(std::span(&registers, 1)));
}

std::uint64_t Tracee::signal_mask() const {
  std::uint64_t mask = 0;
  if (trace(PTRACE_GETSIGMASK, tid_, sizeof mask, as_data(&mask)) != 0) {
    fail("reading the signal mask");
  }
  return mask;
}

void Tracee::set_signal_mask(std::uint64_t mask) {
  if (trace(PTRACE_SETSIGMASK, tid_, sizeof mask, as_data(&mask)) != 0) {
    fail("setting the signal mask");
  }
}

SignalInfoBytes Tracee::signal_info() const {
  SignalInfoBytes info;
  if (trace(PTRACE_GETSIGINFO, tid_, 0, as_data(&info)) != 0) {
    fail("reading the signal");
  }
  return info;
}

void Tracee::set_signal_info(const SignalInfoBytes& info) {
  if (trace(PTRACE_SETSIGINFO, tid_, 0, as_data(&info)) != 0) {
    fail("setting the signal");
  }
}

std::vector<SignalInfoBytes> Tracee::queued_signals(SignalQueue queue) const {
  std::vector<SignalInfoBytes> signals;
  std::array<SignalInfoBytes, 64> part;
  for (;;) {
    __ptrace_peeksiginfo_args arguments{};
    arguments.off = signals.size();
    arguments.flags = queue == SignalQueue::kProcess ? PTRACE_PEEKSIGINFO_SHARED : 0;
    arguments.nr = part.size();
    long count = trace(PTRACE_PEEKSIGINFO, tid_, as_data(&arguments), as_data(part.data()));
    if (count < 0) {
      fail("reading the pending signals");
    }
    if (count == 0) {
      return signals;
    }
    signals.insert(signals.end(), part.begin(), part.begin() + count);
  }
}

std::optional<std::array<std::uint32_t, 4>> Tracee::thread_area(int entry) const {
  constexpr int kGetThreadArea = 25; // PTRACE_GET_THREAD_AREA of asm/ptrace-abi.h
  std::array<std::uint32_t, 4> description{};
  if (trace(kGetThreadArea, tid_, static_cast<std::uintptr_t>(entry),
            as_data(description.data())) != 0) {
    if (errno == ESRCH) {
      fail("reading a thread area");
    }
    return std::nullopt;
  }
  return description;
}

std::optional<RseqConfiguration> Tracee::rseq() const {
  __ptrace_rseq_configuration configuration{};
  if (trace(PTRACE_GET_RSEQ_CONFIGURATION, tid_, sizeof configuration, as_data(&configuration)) <
      0) {
    fail("reading the rseq registration");
  }
  if (configuration.rseq_abi_pointer == 0) {
    return std::nullopt;
  }
  return RseqConfiguration{configuration.rseq_abi_pointer, configuration.rseq_abi_size,
                           configuration.signature, configuration.flags};
}

std::optional<SyscallDispatch> Tracee::syscall_dispatch() const {
  constexpr int kGetDispatch = 0x4211; // PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG
  SyscallDispatch dispatch;
  if (trace(kGetDispatch, tid_, sizeof dispatch, as_data(&dispatch)) != 0) {
    if (errno == ESRCH) {
      fail("reading the dispatch of system calls");
    }
    return std::nullopt;
  }
  return dispatch;
}

void Tracee::set_syscall_dispatch(const SyscallDispatch& dispatch) {
  constexpr int kSetDispatch = 0x4210; // PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG
  if (trace(kSetDispatch, tid_, sizeof dispatch, as_data(&dispatch)) != 0) {
    fail("setting the dispatch of system calls");
  }
}

std::uint64_t Tracee::peek(std::uint64_t address) const {
  errno = 0;
  long word = trace(PTRACE_PEEKDATA, tid_, address);
  if (word == -1 && errno != 0) {
    fail("reading memory");
  }
  return static_cast<std::uint64_t>(word);
}

void Tracee::poke(std::uint64_t address, std::uint64_t value) {
  if (trace(PTRACE_POKEDATA, tid_, address, value) != 0) {
    fail("writing memory");
  }
}

} // namespace rrpcp::process
