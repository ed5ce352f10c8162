// All threads of a process, stopped together.
#pragma once

#include "process/remote_memory.h"
#include "process/tracee.h"

#include <cstdint>
#include <sys/types.h>
#include <vector>

namespace rrpcp {

// Attaches to every thread of a process and stops it (PTRACE_SEIZE, PTRACE_INTERRUPT), threads that
// are made meanwhile included; each stop is settled (settled_stop.h). Signals that arrive wait in
// their queues. A process that was stopped by a signal stays stopped. The destructor lets all
// threads go on.
class ThreadGroup {
public:
  // Nothing is stopped yet.
  explicit ThreadGroup(pid_t pid) : pid_(pid), memory_(pid) {}
  ThreadGroup(const ThreadGroup&) = delete;
  ThreadGroup& operator=(const ThreadGroup&) = delete;
  ~ThreadGroup();

  // Stops every thread. `options` are PTRACE_O_* bits for each. Throws Error as Tracee::seize and
  // Tracee::stop do; kProcessGone where no thread is left. The main thread may be missing, where it
  // has ended before the others.
  void stop(std::uintptr_t options);
  // Lets every thread go on without a tracer. Threads that ended are passed over.
  void release();

  pid_t pid() const { return pid_; }
  // In order of thread ids, the main thread first.
  std::vector<Tracee>& threads() { return threads_; }
  Tracee& leader() { return threads_.front(); }
  RemoteMemory& memory() { return memory_; }

private:
  // Attaches to and interrupts the threads that are not yet ours; returns how many.
  std::size_t seize_new(std::uintptr_t options);

  pid_t pid_;
  RemoteMemory memory_;
  std::vector<Tracee> threads_;
};

} // namespace rrpcp
