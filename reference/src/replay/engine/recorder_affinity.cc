// The processors that tasks may use: all of a recording run on one, and see what they would
// without.

#include "process/proc_status.h"
#include "replay/engine/recorder.h"

#include <algorithm>
#include <sched.h>
#include <span>
#include <sys/syscall.h>

namespace rrpcp::replay {

// After sched_setaffinity(2) and sched_getaffinity(2), of tasks that are recorded.
void Recorder::keep_affinity(RecordedTask& task, std::int64_t result) {
  if (result < 0 || binding_.processor() < 0) {
    return;
  }
  const auto named = static_cast<pid_t>(task.call[0]);
  RecordedTask* whose = &task;
  if (named != 0) { // in another namespace ids mean other tasks
    const bool ours = process::ProcStatus::read(task.pid, task.tid).same_namespace;
    whose = ours ? scheduler_.find(named) : nullptr;
  }
  if (whose == nullptr) {
    return;
  }
  if (task.call.number == SYS_sched_setaffinity) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<unsigned>(binding_.processor()), &one);
    if (::sched_getaffinity(whose->tid, sizeof whose->affinity, &whose->affinity) == 0) {
      ::sched_setaffinity(whose->tid, sizeof one, &one);
    }
    return;
  }
  const auto bytes = std::as_bytes(std::span(&whose->affinity, 1));
  task.memory.write(task.call[2],
                    bytes.first(std::min(bytes.size(), static_cast<std::size_t>(result))));
}

} // namespace rrpcp::replay
