// Waiting for reports of traced tasks.
#pragma once

#include "process/tracee.h"

#include <chrono>
#include <optional>
#include <sys/types.h>

namespace rrpcp::replay {

// A status word of waitpid(2) and the task that it is of.
struct TaskReport {
  pid_t tid = 0;
  int status = 0;
};

// Interrupts a task that was resumed by PTRACE_SYSEMU. Nothing: it stands between two instructions.
// Else it had stopped, or its latest instruction has faulted (an `int3` too), which the kernel
// reports only after the interruption: what it stands at then. Throws Error.
std::optional<process::TraceeStop> interrupt_running(process::Tracee& tracee);

// Waits for whichever task of the calling thread reports first. Blocks SIGCHLD in the calling
// thread while it lives, to be able to wait with a time limit. Use from the tracing thread.
class TaskWaiter {
public:
  TaskWaiter();
  TaskWaiter(const TaskWaiter&) = delete;
  TaskWaiter& operator=(const TaskWaiter&) = delete;
  ~TaskWaiter();

  // Nothing where no task has anything to report now, or there is none. Throws Error.
  std::optional<TaskReport> poll();
  // Waits as long as it takes; nothing where a signal of the calling thread came. Throws
  // kProcessGone where there is no task left.
  std::optional<TaskReport> wait();
  // Waits for at most about `limit`; for one task alone where `tid` is not -1.
  std::optional<TaskReport> wait_for(std::chrono::microseconds limit, pid_t tid = -1);

private:
  std::optional<TaskReport> wait_with(int flags, pid_t tid = -1);

  bool was_blocked_ = false;
};

} // namespace rrpcp::replay
