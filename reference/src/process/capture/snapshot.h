// A copy of a process that stands still.
#pragma once

#include "process/capture/scratch_memory.h"
#include "process/tracee.h"

#include <cstdint>
#include <optional>
#include <sys/types.h>
#include <vector>

namespace rrpcp::process::capture {

// A copy-on-write copy of a process, made by a clone(2) that one of its threads makes for us. It is
// traced by us and never runs a single instruction of the program; it is killed with this object,
// and by the kernel if we die.
//
// To the program the copy is hardly there: it shares the descriptor table (CLONE_FILES), so that
// closing a descriptor closes it, and it is no child of the program, but of the system's first
// process: the program's child is another one that makes the copy, ends at once and is waited for
// by the thread that has made it, whatever becomes of us. Where that cannot be (without a
// ReturnGate, and where orphans become children of the program itself), the copy is a child without
// an exit signal, which wait(2) without __WALL or __WCLONE does not know; after it was killed its
// entry in the process table stays until the program's side has waited for it: reap_snapshot().
class Snapshot {
public:
  // `thread` is in an event stop, and is again afterwards; `options` are its PTRACE_O_* bits.
  // `adopts_orphans`: orphaned descendants of the process become its children. `left_behind`:
  // copies whose makers were killed, as the process knows them, are reaped by the way. Returns
  // nothing where the kernel has no memory or no process for a copy, `errno_value` being the
  // reason.
  static std::optional<Snapshot> make(Tracee& thread, const CallSite& site, std::uintptr_t options,
                                      bool adopts_orphans, const std::vector<pid_t>& left_behind,
                                      int& errno_value);

  Snapshot(Snapshot&& other) noexcept;
  Snapshot& operator=(Snapshot&& other) noexcept;
  ~Snapshot();

  // In our pid namespace.
  pid_t pid() const { return pid_; }
  // In that of the process; 0: the copy is none of its children.
  pid_t child() const { return child_; }
  Tracee& thread() { return thread_; }

  // Kills the copy and waits until its memory is gone.
  void kill();

private:
  Snapshot(Tracee thread, pid_t child)
      : thread_(std::move(thread)), pid_(thread_.tid()), child_(child) {}

  Tracee thread_;
  pid_t pid_;
  pid_t child_;
};

// Removes what is left of a killed copy of process `pid` (as the process knows it) from the process
// table: stops one thread for a moment, in which it waits for the copy. Adds the nanoseconds for
// which it stood still to `stopped`. Returns false where that is not possible now; then an entry
// without memory stays until the process ends. `options` as above.
bool reap_snapshot(pid_t pid, pid_t snapshot, std::uintptr_t options, std::uint64_t& stopped);

// Whether a child process of a program is a copy that we, or another capture, have made of it.
bool is_snapshot(pid_t child);

// Whether it is one that has ended and that nobody waits for, because its capture was killed.
bool is_left_behind(pid_t child);

// Waits for those of the copies that killed captures have left among these children of a process
// and that still end, two seconds at most. Their memory may be large.
void await_left_behind(const std::vector<pid_t>& children);

} // namespace rrpcp::process::capture
