// System calls that a program makes for us by way of its own return from signal handlers.
#pragma once

#include "process/proc_maps.h"
#include "process/remote_memory.h"
#include "process/tracee.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <sys/types.h>
#include <sys/user.h>
#include <utility>
#include <vector>

namespace rrpcp::process {

// Where in a program's code the instructions lie that a ReturnGate uses.
struct ReturnCode {
  // Loads the number of rt_sigreturn(2) and makes the call: what a C library has signal handlers
  // return to.
  std::uint64_t sigreturn = 0;
  std::uint64_t sigreturn_length = 0;
  // `syscall; ret`.
  std::uint64_t call_and_return = 0;

  // Nothing where the executable mappings do not have both. Reads them: may be done before the
  // program is stopped.
  static std::optional<ReturnCode> find(pid_t pid, const std::vector<ProcMapping>& mappings);
};

// A thread that makes system calls for us stands before its own program's rt_sigreturn(2), with a
// signal frame that says how it was: registers, vector registers and signal mask. It makes our
// calls by a `syscall` instruction behind which it returns to there, and which the kernel may send
// it back to, if it has the call restarted. So if we are killed, whenever, the kernel lets the
// thread go on, and it makes itself as it was by one system call, of its own. Not a byte of code is
// written, nothing is mapped and nothing stays behind but some bytes of memory that nobody uses:
// the frame lies in the lowest pages of the main thread's stack, where those hold nothing but zeros
// and no stack reaches; the results of calls too. Where there are no such pages, there is no gate.
//
// The gate serves one thread at a time. The destructor makes its memory zero again. x86-64 only.
class ReturnGate {
public:
  // All threads of `pid` stand still. `stack_pointer` is the main thread's (0: it has ended).
  // Nothing where the program is not made for it. Throws Error.
  static std::optional<ReturnGate> open(pid_t pid, const std::vector<ProcMapping>& mappings,
                                        const ReturnCode& code, std::uint64_t stack_pointer);

  ReturnGate(ReturnGate&& other) noexcept;
  ReturnGate& operator=(ReturnGate&& other) noexcept;
  ~ReturnGate();

  // If the tracer of this thread was killed while the thread made a call for it, and the thread has
  // not got out of it since: makes the thread as it was. The thread is in an event stop. Returns
  // whether it was so; what its way back would have done first is left to do: see left() and
  // left_child(). Throws Error.
  bool recover(Tracee& thread);
  // Address and length of memory that recover() has found left; length 0: none.
  std::pair<std::uint64_t, std::uint64_t> left() const { return left_; }
  // A child that the thread has made for its tracer and not waited for, as the process knows it,
  // which recover() has found; 0: none. It was killed with the tracer, or ends where it begins.
  pid_t left_child() const { return left_child_; }
  // The next thread to be served, which is in an event stop or in a stop at a system call, has
  // these registers and this mask. Throws Error.
  void arm(const Tracee& thread, const user_regs_struct& registers, std::uint64_t mask);

  const ReturnCode& code() const { return code_; }
  // Stack pointers with which a thread at code().sigreturn becomes as it was armed; …
  std::uint64_t way_back() const;
  // … makes a call first, and then becomes so: as it is armed, it waits for the child process whose
  // id is at child_id(); …
  std::uint64_t way_back_by_call() const;
  // … ends: for a new process.
  std::uint64_t way_out() const;
  // The stack pointer of a thread behind the `syscall` of code().call_and_return, which is to
  // return to one of these.
  static std::uint64_t behind_call(std::uint64_t way) { return way - sizeof(std::uint64_t); }
  std::uint64_t child_id() const;
  // Has that call give back [address, address + length) of the memory instead, until the next
  // thread is armed or wait_first() is called. No thread may stand before it.
  void unmap_first(std::uint64_t address, std::uint64_t length);
  void wait_first();

  // Memory for what calls give back.
  std::uint64_t results() const { return start_; }
  static constexpr std::uint64_t kResultSize = 4096;
  // Of all memory that is written, which begins at results().
  std::uint64_t size() const { return size_; }

  // Makes the memory zero; throws Error.
  void close();
  // Leaves it as it is: it goes away with its process.
  void abandon() { start_ = 0; }
  // The same gate in a copy of the process (fork(2)), which is used and closed on its own.
  ReturnGate of_copy(pid_t pid) const { return ReturnGate(pid, code_, start_, size_, written_); }

private:
  ReturnGate(pid_t pid, const ReturnCode& code, std::uint64_t start, std::uint64_t size,
             bool written)
      : memory_(pid), code_(code), start_(start), size_(size), written_(written) {}

  bool is_left_behind();
  void set_first_call(std::uint64_t number, std::uint64_t first, std::uint64_t second,
                      std::uint64_t third);

  RemoteMemory memory_;
  ReturnCode code_;
  std::uint64_t start_; // 0: closed
  std::uint64_t size_;
  bool written_; // the memory is not zero
  std::pair<std::uint64_t, std::uint64_t> left_{};
  pid_t left_child_ = 0;
};

} // namespace rrpcp::process
