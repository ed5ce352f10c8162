#include "replay/engine/supervisor_state.h"

#include <algorithm>

namespace rrpcp::replay {

TaskState* SupervisorState::find_task(pid_t tid) {
  auto found = std::find_if(tasks.begin(), tasks.end(),
                            [&](const TaskState& task) { return task.tid == tid; });
  return found != tasks.end() ? &*found : nullptr;
}

const TaskState* SupervisorState::find_task(pid_t tid) const {
  return const_cast<SupervisorState*>(this)->find_task(tid);
}

ProcessState* SupervisorState::find_process(pid_t pid) {
  auto found = std::find_if(processes.begin(), processes.end(),
                            [&](const ProcessState& process) { return process.pid == pid; });
  return found != processes.end() ? &*found : nullptr;
}

ObjectState* SupervisorState::find_object(std::uint32_t number) {
  auto found = std::find_if(objects.begin(), objects.end(),
                            [&](const ObjectState& object) { return object.number == number; });
  return found != objects.end() ? &*found : nullptr;
}

bool SupervisorState::has_tasks(pid_t pid) const {
  return std::any_of(tasks.begin(), tasks.end(),
                     [&](const TaskState& task) { return task.pid == pid; });
}

} // namespace rrpcp::replay
