// One thread under ptrace(2).
#pragma once

#include <array>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <sys/types.h>
#include <sys/user.h>
#include <vector>

namespace rrpcp::process {

// A mask with every signal in it.
inline constexpr std::uint64_t kAllSignals = ~std::uint64_t{0};

// Why a traced thread reported, decoded from the status word of waitpid(2).
class TraceeStop {
public:
  TraceeStop() = default;
  explicit TraceeStop(int status) : status_(status) {}

  int status() const { return status_; }
  // The thread is gone (exited or killed); nothing else may be asked of it.
  bool gone() const;
  // PTRACE_EVENT_STOP: after PTRACE_INTERRUPT, a group stop, or the first stop of a new thread. The
  // thread is on its way out of the kernel, before signals are looked at and before an interrupted
  // system call is prepared for its restart.
  bool event_stop() const;
  // An event stop of a thread whose process is stopped by SIGSTOP, SIGTSTP, SIGTTIN or SIGTTOU.
  bool group_stop() const;
  // Entry to or exit from a system call (needs PTRACE_O_TRACESYSGOOD).
  bool syscall_stop() const;
  // PTRACE_EVENT_* other than PTRACE_EVENT_STOP; 0: none.
  int event() const;
  // The signal about to be delivered, in a signal-delivery stop; 0: another kind of stop.
  int signal() const;

private:
  int status_ = 0;
};

// A signal's siginfo_t as the kernel keeps it, 128 bytes.
using SignalInfoBytes = siginfo_t;

// A queued signal of a thread or its process, in queue order (PTRACE_PEEKSIGINFO).
enum class SignalQueue { kThread, kProcess };

// rseq(2) registration as PTRACE_GET_RSEQ_CONFIGURATION gives it.
struct RseqConfiguration {
  std::uint64_t address = 0;
  std::uint32_t length = 0;
  std::uint32_t signature = 0;
  std::uint32_t flags = 0;
};

// Syscall user dispatch of a thread, as PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG gives it
// (struct ptrace_sud_config of linux/ptrace.h).
struct SyscallDispatch {
  // PR_SYS_DISPATCH_*: 0 is off.
  std::uint64_t mode = 0;
  // Address of the byte that says whether calls are dispatched now; 0: they always are.
  std::uint64_t selector = 0;
  // Calls from [offset, offset + length) are not dispatched.
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

// A thread that the calling thread traces. Every method must be called from that same thread
// (ptrace(2)), and most of them need the tracee to be stopped. Move-only. The destructor detaches
// a stopped tracee that is still attached; one that runs is detached by the kernel when the tracing
// thread ends.
// All methods throw Error: kProcessGone where the thread is dead, else by errno.
class Tracee {
public:
  // Attaches to a running or stopped thread without stopping it. `options` are PTRACE_O_* bits.
  // Throws kNotFound, kPermission, kAlreadyTraced (naming the tracer), kProcessGone (a zombie),
  // kUnsupportedState (a kernel thread).
  static Tracee seize(pid_t tid, std::uintptr_t options);
  // Takes over a thread that the calling thread traces already (a child of PTRACE_TRACEME or of a
  // traced clone) and that is known to be stopped, or, with `stopped` false, to run.
  static Tracee adopt(pid_t tid, bool stopped);

  Tracee(Tracee&& other) noexcept;
  Tracee& operator=(Tracee&& other) noexcept;
  Tracee(const Tracee&) = delete;
  Tracee& operator=(const Tracee&) = delete;
  ~Tracee();

  pid_t tid() const { return tid_; }
  bool attached() const { return tid_ > 0; }
  bool stopped() const { return stopped_; }
  // What the last wait() returned.
  const TraceeStop& last_stop() const { return last_stop_; }
  // Whether the thread stands at the entry of an interrupted call that RemoteCalls had to restart.
  bool at_restarted_call() const { return at_restarted_call_; }
  void note_restarted_call() { at_restarted_call_ = true; }

  void set_options(std::uintptr_t options);
  // PTRACE_GETEVENTMSG: for an event of clone or fork the new thread's id.
  std::uint64_t event_message() const;

  // Asks for an event stop; does not wait for it. A thread that is stopped already reports it as
  // soon as it is resumed, before it executes anything in user space.
  void interrupt();
  // Resumes with `request` (PTRACE_CONT, PTRACE_SYSCALL, PTRACE_SINGLESTEP, PTRACE_LISTEN); in a
  // signal-delivery stop `signal` is what is delivered.
  void resume(int request, int signal = 0);
  // Waits for the next report. gone() is returned, not thrown; the tracee is no longer attached
  // then.
  TraceeStop wait();
  // The same, for a report that may take for ever: nothing where none came in time.
  std::optional<TraceeStop> wait_for(std::chrono::milliseconds timeout);
  // Waits, and throws kProcessGone where the thread is gone, kSystem where nothing was reported for
  // `patience`: then the thread stays attached, and running.
  TraceeStop wait_stop(std::chrono::milliseconds patience = std::chrono::minutes(1));
  // Whether the last stop is that of a filter of seccomp(2) (PTRACE_EVENT_SECCOMP) in a call whose
  // entry was reported already, because the thread was resumed with PTRACE_SYSCALL: then the thread
  // has been let go on. wait() and wait_for() do that by themselves. A filter that was not
  // installed with `own_filter_data` (SECCOMP_RET_DATA) wants a tracer of its own, which there is
  // not: the call fails with ENOSYS, as seccomp(2) says.
  bool pass_filter_stop();
  static constexpr std::uint64_t own_filter_data = 0x5043;
  // Takes over a report of this thread that the caller got from waitpid(2) itself.
  TraceeStop take_report(int status);

  // Interrupts and waits until the thread is in an event stop, letting signals that are being
  // delivered just then take their course (a handler's frame is set up; the thread stops before
  // the handler's first instruction). Throws kProcessGone; kSystem where the thread does not react
  // in time, as in an uninterruptible wait of the kernel: it stays attached then, and running.
  void stop(std::chrono::milliseconds timeout = std::chrono::seconds(10));
  // The second half of stop(), after interrupt(). The one with `_for` returns false, and has
  // changed nothing, where the thread did not stop in time.
  bool await_event_stop_for(std::chrono::milliseconds timeout);
  void await_event_stop(std::chrono::milliseconds timeout);

  // Lets the stopped thread go on without a tracer, delivering `signal` if it is not 0. A thread
  // whose process is in a group stop stays stopped.
  void detach(int signal = 0);
  // Forgets the thread without detaching.
  void release();

  // The register set `note_type` (NT_* of elf.h) as PTRACE_GETREGSET gives it; nothing where the
  // machine, the kernel or the thread has none.
  std::optional<std::vector<std::byte>> register_set(std::uint32_t note_type) const;
  void set_register_set(std::uint32_t note_type, std::span<const std::byte> bytes);
  // NT_PRSTATUS of a 64-bit x86-64 thread. Throws kUnsupportedState for a 32-bit one.
  user_regs_struct registers() const;
  void set_registers(const user_regs_struct& registers);
  // They were changed by somebody else's request.
  void forget_registers() { registers_.reset(); }

  // Blocked signals: bit N-1 for signal N. In a call with a mask of its own (sigsuspend(2),
  // ppoll(2) …) this is the mask that the call will restore, and setting the mask ends the other
  // one.
  std::uint64_t signal_mask() const;
  void set_signal_mask(std::uint64_t mask);
  // siginfo of the signal in a signal-delivery stop.
  SignalInfoBytes signal_info() const;
  void set_signal_info(const SignalInfoBytes& info);
  std::vector<SignalInfoBytes> queued_signals(SignalQueue queue) const;
  // The segment descriptor of set_thread_area(2) in slot `entry` as a struct user_desc's 16 bytes;
  // nothing where the kernel has no such slot.
  std::optional<std::array<std::uint32_t, 4>> thread_area(int entry) const;
  // Nothing where the thread has none registered; throws where the kernel cannot tell
  // (before 5.13).
  std::optional<RseqConfiguration> rseq() const;
  // Nothing where the kernel cannot tell (before 6.4).
  std::optional<SyscallDispatch> syscall_dispatch() const;
  void set_syscall_dispatch(const SyscallDispatch& dispatch);
  // A word of the thread's memory, also where a mapping forbids access to the program itself.
  std::uint64_t peek(std::uint64_t address) const;
  void poke(std::uint64_t address, std::uint64_t value);

private:
  Tracee(pid_t tid, bool stopped) : tid_(tid), stopped_(stopped) {}
  // The Error for a failed ptrace request.
  [[noreturn]] void fail(std::string_view what) const;

  pid_t tid_ = 0;
  bool stopped_ = false;
  bool at_restarted_call_ = false;
  int last_request_ = 0; // of resume()
  TraceeStop last_stop_;
  mutable std::optional<user_regs_struct> registers_; // as read since it stopped
};

} // namespace rrpcp::process
