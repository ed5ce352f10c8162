// All threads of a process, stopped together.
#pragma once

#include "process/remote_memory.h"
#include "process/tracee.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace rrpcp::process {

// Attaches to every thread of a process and stops it (PTRACE_SEIZE, PTRACE_INTERRUPT), threads that
// are made meanwhile included; each stop is settled (settled_stop.h). Signals that arrive wait in
// their queues. A process that was stopped by a signal stays stopped. The destructor lets all
// threads go on.
class ThreadGroup {
public:
  // Nothing is stopped yet. `check` is called while the threads are waited for; what it throws is
  // passed on.
  explicit ThreadGroup(pid_t pid, std::function<void()> check = {})
      : pid_(pid), check_(std::move(check)), memory_(pid) {}
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

  // Waits for the event stop that a thread was asked for, and settles it; releases one that has
  // ended. False: it did not stop in time, which `last` has thrown.
  bool settle_within(Tracee& thread, std::chrono::milliseconds timeout, bool last);
  // Waits for the event stops that the threads from that one on were asked for, and settles them.
  void await_stops(std::size_t first);

  pid_t pid_;
  std::function<void()> check_;
  RemoteMemory memory_;
  std::vector<Tracee> threads_;
};

} // namespace rrpcp::process
