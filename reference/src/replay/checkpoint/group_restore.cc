#include "container/kj_errors.h"
#include "process/proc_maps.h"
#include "process/remote_calls.h"
#include "process/restore/descriptor_limit.h"
#include "process/restore/memory_objects.h"
#include "process/restore/process_builder.h"
#include "process/restore/state_checks.h"
#include "replay/checkpoint/process_group.h"
#include "replay/checkpoint/thread_attributes.h"
#include "rrpcp/error.h"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <map>
#include <memory>
#include <optional>
#include <sched.h>
#include <string>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <utility>

namespace rrpcp::replay {

namespace {

// Makes a process that shares the memory of another one (vfork(2), clone(2) with CLONE_VM), by a
// clone that a thread of that one makes.
process::restore::BuiltProcess build_sharer(const CheckpointReader& reader,
                                            std::uint32_t task_index, process::Tracee& owner,
                                            std::uintptr_t trace_options) {
  const std::optional<std::uint64_t> instruction =
      process::find_syscall_instruction(owner.tid(), process::read_mappings(owner.tid()));
  const std::uintptr_t options = trace_options | PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL;
  owner.set_options(options | PTRACE_O_TRACECLONE);
  std::optional<process::restore::BuiltProcess> process;
  {
    process::RemoteCalls calls(owner, instruction);
    calls.require("making a process that shares memory", SYS_clone, CLONE_VM | CLONE_PARENT, 0, 0,
                  0, 0);
    const std::optional<pid_t> pid = calls.take_new_thread();
    if (!pid) {
      throw Error(ErrorCode::kInternal, "a new process was not reported");
    }
    process.emplace(*pid);
    process->tasks().push_back({task_index, process::Tracee::adopt(*pid, false)});
    process->tasks().front().tracee.wait_stop();
    calls.finish();
  }
  owner.set_options(options);
  process::Tracee& thread = process->tasks().front().tracee;
  thread.set_options(options);
  set_stored_thread(thread, reader, task_index, instruction, true);
  return std::move(*process);
}

// Whose tasks are those of process `process`: index of the first, and how many there are.
std::pair<std::uint32_t, std::uint32_t> tasks_of(schema::State::Reader state,
                                                 std::uint32_t process) {
  std::pair<std::uint32_t, std::uint32_t> found{0, 0};
  for (std::uint32_t i = 0; i < state.getTasks().size(); ++i) {
    if (state.getTasks()[i].getProcess() == process && found.second++ == 0) {
      found.first = i;
    }
  }
  return found;
}

std::vector<process::restore::BuiltProcess> build_all(const CheckpointReader& reader,
                                                      const GroupRestoreOptions& options,
                                                      std::vector<ScopedFd>& descriptors) {
  const schema::State::Reader state = reader.state();
  RestoreOptions restore_options;
  restore_options.files = {options.trace_directory, options.verify_files};
  restore_options.threads = options.threads;
  const process::restore::RaisedDescriptorLimit raised;
  process::restore::Obstacles obstacles(restore_options.allow, reader.name());
  process::restore::MemoryObjects objects(reader, restore_options, obstacles);
  process::restore::ProcessParts parts;
  parts.ids = parts.files = parts.timers = parts.attributes = parts.own_memory = false;
  // Of processes that share a space the first one is made, and has the others made.
  std::map<std::uint32_t, std::size_t> makers;
  std::vector<std::unique_ptr<process::restore::ProcessPlan>> plans(state.getProcesses().size());
  for (std::uint32_t i = 0; i < plans.size(); ++i) {
    const auto [first, count] = tasks_of(state, i);
    const bool is_first = makers.emplace(state.getTasks()[first].getAddressSpace(), i).second;
    if (is_first) {
      plans[i] = std::make_unique<process::restore::ProcessPlan>(
          reader, i, objects, nullptr, restore_options, parts, false, obstacles);
    } else if (count != 1) {
      obstacles.add(ErrorCode::kUnsupportedState,
                    "process " + std::to_string(state.getProcesses()[i].getPid()) +
                        " has several threads and shares its memory with another process");
    }
  }
  obstacles.throw_if_any();
  objects.acquire(obstacles);
  obstacles.throw_if_any();
  process::restore::BuildOptions build_options;
  build_options.trace_options = options.trace_options;
  build_options.threads = options.threads;
  std::vector<process::restore::PageCopy> shared = objects.contents();
  std::vector<process::restore::BuiltProcess> built;
  for (std::uint32_t i = 0; i < plans.size(); ++i) {
    if (plans[i]) {
      built.push_back(process::restore::build_process(*plans[i], std::exchange(shared, {}), reader,
                                                      build_options));
      continue;
    }
    const std::uint32_t task = tasks_of(state, i).first;
    process::restore::BuiltProcess& maker =
        built[makers.at(state.getTasks()[task].getAddressSpace())];
    built.push_back(
        build_sharer(reader, task, maker.tasks().front().tracee, options.trace_options));
  }
  objects.finish();
  objects.keep();
  descriptors = keep_descriptors(objects);
  return built;
}

} // namespace

RestoredGroup restore_group(const CheckpointReader& reader, const GroupRestoreOptions& options) {
  return with_kj_errors(reader.name(), [&] {
    process::restore::check_machine(reader);
    process::restore::check_rules(reader);
    const schema::State::Reader state = reader.state();
    RestoredGroup group;
    std::vector<process::restore::BuiltProcess> built = build_all(reader, options, group.objects);
    for (std::uint32_t i = 0; i < built.size(); ++i) {
      RestoredProcess& process = group.processes.emplace_back();
      process.logical_pid = state.getProcesses()[i].getPid();
      process.pid = built[i].pid();
      for (process::restore::BuiltTask& task : built[i].release()) {
        process.threads.push_back(
            {state.getTasks()[task.index].getTid(), task.index, std::move(task.tracee)});
      }
    }
    return group;
  });
}

std::vector<ScopedFd> keep_descriptors(const process::restore::MemoryObjects& objects) {
  std::vector<ScopedFd> descriptors(objects.size());
  for (std::size_t i = 0; i < objects.size(); ++i) {
    if (objects.kind(i) == process::restore::MemoryObjects::Kind::kMemory) {
      descriptors[i].reset(::fcntl(objects.descriptor(i, true), F_DUPFD_CLOEXEC, 0));
      if (!descriptors[i]) {
        throw system_error(errno, "cannot keep a descriptor of " + objects.name(i));
      }
    }
  }
  return descriptors;
}

void kill_group(std::vector<RestoredProcess>& processes) {
  for (RestoredProcess& process : processes) {
    ::kill(process.pid, SIGKILL);
  }
  for (RestoredProcess& process : processes) {
    // The one that leads the process is reported after all others.
    for (std::size_t i = process.threads.size(); i-- > 0;) {
      process::Tracee& tracee = process.threads[i].tracee;
      try {
        while (tracee.attached() && !tracee.wait().gone()) {
        }
      } catch (const Error&) {
        tracee.release(); // somebody has waited for it already
      }
    }
  }
  processes.clear();
}

} // namespace rrpcp::replay
