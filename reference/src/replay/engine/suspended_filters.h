// System calls that a recorder has a confined task make.
#pragma once

#include "process/proc_status.h"
#include "replay/engine/recorded_task.h"

#include <cstdint>
#include <sys/ptrace.h>
#include <sys/types.h>

namespace rrpcp::replay {

// While it lives, filters of seccomp(2) do not see the task's calls: those that the recorder has it
// make. Needs CAP_SYS_ADMIN; without it, the filters decide.
class SuspendedFilters {
public:
  explicit SuspendedFilters(const RecordedTask& task)
      : tid_(process::ProcStatus::read(task.pid, task.tid).seccomp != 0 ? task.tid : 0) {
    set(kRecorderOptions | PTRACE_O_SUSPEND_SECCOMP);
  }
  SuspendedFilters(const SuspendedFilters&) = delete;
  SuspendedFilters& operator=(const SuspendedFilters&) = delete;
  ~SuspendedFilters() { set(kRecorderOptions); }

  bool needed() const { return tid_ != 0; }

private:
  void set(std::uintptr_t options) const {
    if (tid_ != 0) {
      ::ptrace(PTRACE_SETOPTIONS, tid_, nullptr, options);
    }
  }

  pid_t tid_;
};

} // namespace rrpcp::replay
