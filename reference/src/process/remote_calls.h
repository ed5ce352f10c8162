// System calls made by a stopped thread on our behalf.
#pragma once

#include "process/call_gate.h"
#include "process/proc_maps.h"
#include "process/return_gate.h"
#include "process/tracee.h"

#include <array>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string_view>
#include <sys/types.h>
#include <sys/user.h>
#include <vector>

namespace rrpcp::process {

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
// Every wait for the thread has a bound.
//
// A thread whose system calls are dispatched to itself (syscall user dispatch, prctl(2)) at this
// moment makes calls for us all the same: the kernel is told to leave ours alone, and told again
// what it was told before when they are made. A kernel that cannot tell about it (before 6.4) has
// the call refused (kUnsupportedState), and the thread comes to no harm.
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
  // The same, by way of the program's own return from signal handlers. A new process without a
  // stack of its own ends as soon as it runs.
  RemoteCalls(Tracee& tracee, ReturnGate& gate);
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

  // With a ReturnGate, a call of clone(2) by which the thread gets a child that it reaps by itself
  // if we are killed before wait_for_child() was called. Returns what clone(2) returns.
  std::int64_t clone_child(std::uint64_t flags);
  // Waits for the end of that child, which is at hand, and reaps it.
  std::int64_t wait_for_child(std::int64_t child);

  // Maps a page without access at `address`, where nothing is, for an instant. With a ReturnGate
  // the thread gives it back by itself if we are killed before unmap_page() was called. Returns
  // what mmap(2) returns; where that is not `address`, there is nothing to unmap.
  std::int64_t map_page(std::uint64_t address);
  void unmap_page(std::uint64_t address);
  bool has_return_gate() const { return return_ != nullptr; }

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
  // Registers at the beginning of the thread's way back, from where it makes itself as it was.
  user_regs_struct way_back() const;
  bool is_at_entry();
  void take_way_back();
  void take_over(bool at_entry);
  // Makes the kernel leave our calls alone where it dispatches them to the program.
  void suspend_dispatch();
  void resume_dispatch();
  void restart_with_own_mask();
  // Whether the thread was interrupted in a call with a signal mask of its own.
  bool mask_belongs_to_call() const;

  Tracee& tracee_;
  CallGate* gate_ = nullptr;
  ReturnGate* return_ = nullptr;
  std::uint64_t stack_ = 0; // with a ReturnGate: where the frame of the way back lies
  std::uint64_t instruction_;
  std::optional<std::uint64_t> overwritten_; // the word that was at instruction_
  user_regs_struct original_;
  std::uint64_t original_mask_;
  std::optional<pid_t> new_thread_;
  std::uint64_t blocked_;                   // signals that wait meanwhile
  std::optional<SyscallDispatch> dispatch_; // of the program, while it is suspended
  bool finished_ = false;
};

// ReturnGate::recover(), and gives back the memory that it finds left, or waits for the child; for
// one that does not end within two seconds, in vain. Throws Error.
bool recover_thread(Tracee& thread, ReturnGate& gate);

} // namespace rrpcp::process
