// Tasks of a replay that come, execute another program and go.

#include "process/restore/memory_objects.h"
#include "process/restore/obstacles.h"
#include "process/restore/process_builder.h"
#include "process/restore/process_plan.h"
#include "replay/engine/injected_calls.h"
#include "replay/engine/replay_session.h"
#include "rrpcp/error.h"
#include "rrpcp/process/capture.h"
#include "rrpcp/reader.h"

#include <algorithm>
#include <csignal>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <utility>

namespace rrpcp::replay {

void ReplaySession::make_task(Task& parent) {
  const user_regs_struct entry =
      current_.registers ? *current_.registers : parent.tracee.registers();
  const trace::SystemCall call(entry);
  const pid_t parent_process = task_state(current_.task).pid;
  const bool thread = (current_.flags & CLONE_THREAD) != 0;
  constexpr std::uint64_t kKept = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                                  CLONE_SYSVSEM | CLONE_CHILD_CLEARTID;
  std::uint64_t flags = current_.flags & kKept;
  if (!thread) {
    flags |= CLONE_PARENT | SIGCHLD; // a child of ours
  }
  std::uint64_t clear_tid = 0;
  if ((flags & CLONE_CHILD_CLEARTID) != 0) {
    constexpr std::uint64_t kChildTidOffset = 16; // in struct clone_args
    clear_tid = call.number == SYS_clone3
                    ? parent.memory.read_value<std::uint64_t>(call[0] + kChildTidOffset)
                    : call[3];
  }
  InjectedCalls calls(parent.tracee, site(parent));
  const auto real =
      static_cast<pid_t>(calls.require("making a task", SYS_clone, flags, 0, 0, clear_tid, 0));
  process::Tracee tracee = process::Tracee::adopt(calls.new_task().value_or(real), false);
  tracee.wait_stop();
  parent.tracee.set_registers(entry); // it is in its call still
  tracee.set_registers(at_user(current_.child_registers));
  auto made = std::make_unique<Task>(Task{current_.child, thread ? parent.pid : real,
                                          std::move(tracee), process::RemoteMemory(real)});
  made->site = parent.site;
  made->blocks_trap = parent.blocks_trap;
  made->ignored_trap = parent.ignored_trap;
  TaskState state;
  state.tid = current_.child;
  state.pid = current_.child_process;
  state.serial = state_.next_serial++;
  state_.tasks.push_back(state);
  if (!thread) {
    ProcessState process;
    process.pid = current_.child_process;
    process.parent = parent_process;
    process.serial = state_.next_serial++;
    process.space_event = state_.event;
    process.shares_memory_of = (current_.flags & CLONE_VM) != 0 ? parent_process : 0;
    process.executable = state_.find_process(parent_process)->executable;
    state_.processes.push_back(process);
  }
  write_memory(*made, current_.child_memory);
  tasks_[current_.child] = std::move(made);
  write_memory(parent, current_.memory);
  task_state(current_.task).in_call = true;
}

void ReplaySession::execute() {
  changeable_.clear();
  const pid_t pid = current_.task;
  TaskState state;
  state.tid = pid;
  state.pid = pid;
  ProcessState process;
  process.pid = pid;
  if (TaskState* before =
          state_.find_task(current_.former_task != 0 ? current_.former_task : current_.task)) {
    state = *before;
    state.tid = pid;
    process = *state_.find_process(pid);
    kill_process(pid);
    std::erase_if(state_.tasks, [&](const TaskState& other) { return other.pid == pid; });
    std::erase_if(state_.processes, [&](const ProcessState& other) { return other.pid == pid; });
  } else {
    state.serial = state_.next_serial++;
    process.serial = state_.next_serial++;
  }
  const CheckpointReader image = CheckpointReader::open(directory_ + "/" + current_.image);
  RestoreOptions options;
  options.files.trace_directory = directory_;
  options.threads = 1;
  // What confined the program, and what it had open, is the recorder's business.
  const std::vector<std::string>& names = allowable_names();
  options.allow = AllowList(names.begin(), names.end());
  process::restore::Obstacles obstacles(options.allow, image.name());
  process::restore::MemoryObjects objects(image, options, obstacles);
  const process::restore::ProcessParts parts{false, false, true, false, false};
  process::restore::ProcessPlan plan(image, 0, objects, nullptr, options, parts, false, obstacles);
  obstacles.throw_if_any();
  objects.acquire(obstacles);
  obstacles.throw_if_any();
  process::restore::BuildOptions build;
  build.trace_options = kTaskTraceOptions;
  build.threads = 1;
  process::restore::BuiltProcess built =
      process::restore::build_process(plan, objects.contents(), image, build);
  const pid_t real = built.pid();
  for (schema::ResourceLimit::Reader limit : plan.process().getResourceLimits()) {
    if (limit.getResource() == RLIMIT_STACK) {
      rlimit own{};
      ::prlimit(real, RLIMIT_STACK, nullptr, &own);
      own.rlim_cur = std::min<rlim_t>(limit.getSoft(), own.rlim_max);
      ::prlimit(real, RLIMIT_STACK, &own, nullptr);
    }
  }
  std::vector<process::restore::BuiltTask> tasks = built.release();
  tasks_[pid] = std::make_unique<Task>(
      Task{pid, real, std::move(tasks.front().tracee), process::RemoteMemory(real)});
  note_trap(*tasks_[pid]);
  state.in_call = false;
  process.space_event = state_.event;
  process.shares_memory_of = 0;
  process.executable = current_.executable;
  state_.tasks.push_back(state);
  state_.processes.push_back(process);
  write_memory(*tasks_[pid], current_.memory); // of others
}

void ReplaySession::end_task(pid_t tid) {
  const TaskState ended = task_state(tid);
  const bool last =
      std::none_of(state_.tasks.begin(), state_.tasks.end(), [&](const TaskState& other) {
        return other.pid == ended.pid && other.tid != tid;
      });
  if (last) {
    kill_process(ended.pid);
    if (!state_.processes.empty() && state_.processes.front().pid == ended.pid &&
        state_.processes.front().parent == 0) {
      state_.ended = true;
      state_.status = current_.status;
    }
    std::erase_if(state_.processes,
                  [&](const ProcessState& process) { return process.pid == ended.pid; });
  } else {
    Task& task = *tasks_.at(tid);
    user_regs_struct registers = at_user(task.tracee.registers());
    registers.rip = site(task);
    registers.rax = SYS_exit;
    registers.rdi = 0;
    task.tracee.set_registers(registers);
    // Nobody is told of the end of the real process's leader before that of its threads; it ends
    // when it is let go. After a restore it need not be the task that led while recording.
    if (task.tracee.tid() != task.pid) {
      task.tracee.resume(PTRACE_CONT);
      while (!task.tracee.wait().gone()) {
        task.tracee.resume(PTRACE_CONT);
      }
    }
    tasks_.erase(tid);
  }
  std::erase_if(state_.tasks, [&](const TaskState& task) { return task.tid == tid; });
  for (auto& [other, task] : tasks_) {
    // Where nobody is left who had its memory, there are writes into that of others only.
    if (state_.find_task(other)->pid == ended.pid || last) {
      write_memory(*task, current_.memory);
      break;
    }
  }
}

// Ends the real process with all its tasks.
void ReplaySession::kill_process(pid_t recorded) {
  std::vector<pid_t> members;
  for (const TaskState& state : state_.tasks) {
    if (state.pid == recorded && tasks_.count(state.tid) != 0) {
      members.push_back(state.tid);
    }
  }
  if (members.empty()) {
    return;
  }
  const pid_t real = tasks_.at(members.front())->pid;
  ::kill(real, SIGKILL);
  // The leader last: it is reported only after the others.
  std::stable_partition(members.begin(), members.end(),
                        [&](pid_t tid) { return tasks_.at(tid)->tracee.tid() != real; });
  for (pid_t tid : members) {
    process::Tracee& tracee = tasks_.at(tid)->tracee;
    try {
      while (tracee.attached() && !tracee.wait().gone()) {
      }
    } catch (const Error&) {
      // Gone already.
    }
    tracee.release();
    tasks_.erase(tid);
  }
}

} // namespace rrpcp::replay
