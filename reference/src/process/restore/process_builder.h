// Making one process from its plan.
//
// This is the inner interface of a restore, for restore_process and for replay engines, which make
// whole trees of processes and want each of them stopped under their own ptrace:
//
//   Obstacles obstacles(options.allow, reader.name());
//   MemoryObjects objects(reader, options, obstacles);      // shared by all processes
//   OpenFiles files(reader, objects, options, obstacles);   // not needed where parts.files is
//   false std::vector<ProcessPlan> plans; …                       // one for each process
//   obstacles.throw_if_any();
//   std::vector<PageCopy> shared = objects.contents();
//   for (ProcessPlan& plan : plans) {
//     BuiltProcess process = build_process(plan, std::exchange(shared, {}), build_options);
//     …
//   }
//   objects.keep();
#pragma once

#include "process/restore/process_plan.h"
#include "process/tracee.h"

#include <cstdint>
#include <functional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace rrpcp::process::restore {

struct BuildOptions {
  // PTRACE_O_* for every thread, besides PTRACE_O_TRACESYSGOOD.
  std::uintptr_t trace_options = 0;
  // Threads that copy pages. 0: as many as processors are available.
  unsigned threads = 0;
  // Makes the child in another way than by clone3(2): has to create a process without CLONE_VM
  // whose parent is the calling thread's process, which calls `enter(argument)` at once with all
  // signals still blocked, and return its id. The ids of the plan's parts concern threads only
  // then.
  std::function<pid_t(void (*enter)(void*), void* argument)> make_child;
};

// One thread of a process that was made: in an event stop, with all registers as stored.
struct BuiltTask {
  // Index in State.tasks.
  std::uint32_t index = 0;
  Tracee tracee;
};

// A process that was made, stopped under the ptrace of the calling thread. Killed and reaped by the
// destructor unless release() was called. Use from the thread that made it.
class BuiltProcess {
public:
  explicit BuiltProcess(pid_t pid) : pid_(pid) {}
  BuiltProcess(BuiltProcess&& other) noexcept;
  BuiltProcess& operator=(BuiltProcess&& other) noexcept;
  ~BuiltProcess();

  pid_t pid() const { return pid_; }
  // The leader first.
  std::vector<BuiltTask>& tasks() { return tasks_; }
  std::vector<std::string>& warnings() { return warnings_; }
  // Kills and reaps it. No effect where there is none any more.
  void kill();
  // Leaves the process and its threads to the caller.
  std::vector<BuiltTask> release();

private:
  pid_t pid_ = 0;
  std::vector<BuiltTask> tasks_;
  std::vector<std::string> warnings_;
};

// Gives a stopped thread the registers and the signal mask of task `task` of State.tasks. Throws
// Error.
void set_stored_registers(Tracee& tracee, const CheckpointReader& reader, std::uint32_t task);

// Makes a process by `plan`. `copies` are carried out together with the plan's own: those of shared
// memory objects, with the first process. Throws Error: kIdInUse, kPermission, kDamaged, kSystem,
// …; nothing is left behind then.
BuiltProcess build_process(ProcessPlan& plan, std::vector<PageCopy> copies,
                           const CheckpointReader& reader, const BuildOptions& options);

} // namespace rrpcp::process::restore
