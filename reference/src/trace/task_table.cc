#include "trace/task_table.h"

#include <algorithm>
#include <string>
#include <utility>

namespace rrpcp::trace {

namespace {

std::string to_string(capnp::Data::Reader data) {
  return {reinterpret_cast<const char*>(data.begin()), data.size()};
}

kj::ArrayPtr<const kj::byte> to_kj(const std::string& text) {
  return {reinterpret_cast<const kj::byte*>(text.data()), text.size()};
}

// The living task of that id; the last one of several, as ids may be used again.
TaskRecord* find_living(TaskTable& tasks, std::int32_t tid) {
  const auto found = std::find_if(tasks.rbegin(), tasks.rend(), [&](const TaskRecord& task) {
    return task.tid == tid && task.last_event == 0;
  });
  return found == tasks.rend() ? nullptr : &*found;
}

void apply_exec(TaskTable& tasks, std::int64_t number, std::int32_t tid,
                schema::Event::Exec::Reader exec) {
  TaskRecord* task = find_living(tasks, tid);
  if (task == nullptr) {
    TaskRecord first;
    first.tid = tid;
    first.pid = tid;
    first.first_event = number;
    task = &tasks.emplace_back(std::move(first));
  }
  // All other threads of the process are gone.
  for (TaskRecord& other : tasks) {
    if (&other != task && other.pid == task->pid && other.last_event == 0) {
      other.last_event = number;
    }
  }
  TaskExecution execution;
  execution.event = number;
  execution.path = to_string(exec.getExecutable());
  for (const capnp::Data::Reader argument : exec.getArguments()) {
    execution.command_line.push_back(to_string(argument));
  }
  task->executions.push_back(std::move(execution));
}

} // namespace

bool tells_of_tasks(schema::Event::Reader event) {
  return event.isExec() || event.isNewTask() || event.isExit();
}

void apply_event(TaskTable& tasks, std::int64_t number, schema::Event::Reader event) {
  if (event.isExec()) {
    apply_exec(tasks, number, event.getTask(), event.getExec());
  } else if (event.isNewTask()) {
    const TaskRecord* maker = find_living(tasks, event.getTask());
    TaskRecord made;
    made.tid = event.getNewTask().getChild();
    made.pid = event.getNewTask().getChildProcess();
    made.first_event = number;
    if (maker != nullptr) {
      made.parent_pid = made.pid == maker->pid ? maker->parent_pid : maker->pid;
    }
    tasks.push_back(std::move(made));
  } else if (event.isExit()) {
    if (TaskRecord* task = find_living(tasks, event.getTask()); task != nullptr) {
      task->last_event = number;
      task->exit_status = event.getExit().getStatus();
    }
  }
}

void encode_tasks(const TaskTable& tasks, capnp::List<schema::TraceTask>::Builder out) {
  for (unsigned i = 0; i < out.size(); ++i) {
    const TaskRecord& task = tasks[i];
    schema::TraceTask::Builder built = out[i];
    built.setTid(task.tid);
    built.setPid(task.pid);
    built.setParentPid(task.parent_pid);
    built.setFirstEvent(task.first_event);
    built.setLastEvent(task.last_event);
    built.setExitStatus(task.exit_status);
    auto executions = built.initExecutions(static_cast<unsigned>(task.executions.size()));
    for (unsigned e = 0; e < executions.size(); ++e) {
      executions[e].setEvent(task.executions[e].event);
      executions[e].setPath(to_kj(task.executions[e].path));
      const std::vector<std::string>& arguments = task.executions[e].command_line;
      auto list = executions[e].initCommandLine(static_cast<unsigned>(arguments.size()));
      for (unsigned a = 0; a < list.size(); ++a) {
        list.set(a, to_kj(arguments[a]));
      }
    }
  }
}

TaskTable decode_tasks(capnp::List<schema::TraceTask>::Reader in) {
  TaskTable tasks;
  tasks.reserve(in.size());
  for (const schema::TraceTask::Reader from : in) {
    TaskRecord task;
    task.tid = from.getTid();
    task.pid = from.getPid();
    task.parent_pid = from.getParentPid();
    task.first_event = from.getFirstEvent();
    task.last_event = from.getLastEvent();
    task.exit_status = from.getExitStatus();
    for (const schema::Execution::Reader from_execution : from.getExecutions()) {
      TaskExecution execution;
      execution.event = from_execution.getEvent();
      execution.path = to_string(from_execution.getPath());
      for (const capnp::Data::Reader argument : from_execution.getCommandLine()) {
        execution.command_line.push_back(to_string(argument));
      }
      task.executions.push_back(std::move(execution));
    }
    tasks.push_back(std::move(task));
  }
  return tasks;
}

} // namespace rrpcp::trace
