// System calls made by a stopped thread on our behalf.
#pragma once

#include "process/call_gate.h"
#include "process/proc_maps.h"
#include "process/tracee.h"

#include <array>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string_view>
#include <sys/types.h>
#include <sys/user.h>
#include <vector>

namespace rrpcp {

// Address of a `syscall` instruction (0f 05) in the program's executable memory: in the vDSO, which
// has one as a rule, else in any executable mapping. Nothing where there is none.
std::optional<std::uint64_t> find_syscall_instruction(pid_t pid,
                                                      const std::vector<ProcMapping>& mappings);

// While an object of this class lives, a thread that is in an event stop, or where an earlier
// object has left it, makes system calls for us.
//
// All signals are blocked meanwhile, so that those that arrive wait in their queues (SIGSTOP takes
// effect as it should, SIGKILL too). Nothing of the thread is changed in the end: the destructor,
// or finish(), puts back all general registers and the signal mask and brings the thread into an
// event stop, where the kernel takes up an interrupted system call as if nothing had happened. A
// thread in a call with a signal mask of its own (sigsuspend(2), ppoll(2), …) is left in the
// system-call stop at the entry of that call instead, which then sets its mask anew: at an event
// stop a signal that this mask blocks would get through. (An interrupted call's restart block
// survives what is called here, except for calls that sleep with a time-out themselves — nanosleep,
// poll, futex — and rt_sigreturn: do not make those.)
//
// The tracee must have been given PTRACE_O_TRACESYSGOOD. x86-64 only. Use from the tracing thread.
class RemoteCalls {
public:
  // `instruction` is the address of a `syscall` instruction. Without one, the instruction is
  // written over the code at the thread's own position, and put back.
  RemoteCalls(Tracee& tracee, std::optional<std::uint64_t> instruction);
  // Makes the calls through `gate`: the thread comes to no harm even if we are killed meanwhile.
  // The gate serves one thread at a time and must outlive this object.
  RemoteCalls(Tracee& tracee, CallGate& gate);
  RemoteCalls(const RemoteCalls&) = delete;
  RemoteCalls& operator=(const RemoteCalls&) = delete;
  ~RemoteCalls();

  // Makes system call `number` and returns what the kernel returns: a negative errno for a failure.
  // Throws kProcessGone where the thread ends meanwhile.
  template <typename... Arguments>
  requires(sizeof...(Arguments) <= 6 &&
           (std::convertible_to<Arguments, std::uint64_t> && ...)) std::int64_t
      call(long number, Arguments... arguments) {
    return call_with(number, {static_cast<std::uint64_t>(arguments)...});
  }
  // The same; throws Error by errno for a failure, `what` saying what was being done.
  template <typename... Arguments>
  std::uint64_t require(std::string_view what, long number, Arguments... arguments) {
    return check(what, call(number, arguments...));
  }

  // The thread that the last call created, where the trace options report it (PTRACE_O_TRACECLONE
  // and the like): it is attached and has not been waited for.
  std::optional<pid_t> take_new_thread();

  // Registers that the thread has outside of the calls. Changing them takes effect at the end.
  user_regs_struct& original_registers() { return original_; }
  std::uint64_t original_mask() const { return original_mask_; }

  // Puts everything back; throws Error. The destructor does the same and swallows errors.
  void finish();

private:
  std::int64_t call_with(long number, const std::array<std::uint64_t, 6>& arguments);
  std::uint64_t check(std::string_view what, std::int64_t result) const;
  // Resumes until the next system-call stop.
  void run_to_syscall_stop();
  // Registers that execute the instruction at `address`.
  user_regs_struct registers_at(std::uint64_t address) const;
  bool is_at_entry();
  // Whether the thread was interrupted in a call with a signal mask of its own.
  bool mask_belongs_to_call() const;

  Tracee& tracee_;
  CallGate* gate_ = nullptr;
  std::uint64_t instruction_;
  std::optional<std::uint64_t> overwritten_; // the word that was at instruction_
  user_regs_struct original_;
  std::uint64_t original_mask_;
  std::optional<pid_t> new_thread_;
  bool finished_ = false;
};

} // namespace rrpcp
