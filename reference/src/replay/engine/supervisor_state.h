// What a replay knows besides its processes' memory and registers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <sys/types.h>
#include <vector>

namespace rrpcp::replay {

// Plain values without pointers or kernel resources: two replays of one trace that stand at the
// same event have equal ones, and a replay can be set up again from them together with the memory
// and registers of its tasks. Ids are the recorded ones.

struct TaskState {
  pid_t tid = 0;
  pid_t pid = 0;
  // Unique in the session, tids are not.
  std::uint32_t serial = 0;
  // The task stands at the entry of a system call whose end is an event of its own: its registers
  // are those of the entry (rax is -ENOSYS, orig_rax the number).
  bool in_call = false;
  // Its events so far: this host's ticks.
  std::int64_t ticks = 0;
  // Event at which it first ran: its first one after that which made it. 0: it did not run yet.
  std::int64_t first_run_event = 0;
  // Its latest event. 0: none.
  std::int64_t last_event = 0;

  bool operator==(const TaskState&) const = default;
};

struct ProcessState {
  pid_t pid = 0;
  // Of the process that made it; 0: the recorder.
  pid_t parent = 0;
  std::uint32_t serial = 0;
  // Event that made its address space: exec, or the fork.
  std::int64_t space_event = 0;
  // Its memory is that of this process (vfork); 0: its own.
  pid_t shares_memory_of = 0;
  // Path of the program.
  std::string executable;

  bool operator==(const ProcessState&) const = default;
};

// A file, memfd or System V segment that tasks have mapped shared.
struct ObjectState {
  std::uint32_t number = 0;
  std::uint64_t size = 0; // bytes
  std::string path;       // for people

  bool operator==(const ObjectState&) const = default;
};

struct SupervisorState {
  // The next event to be applied.
  std::int64_t event = 1;
  // In the order in which they were made.
  std::vector<TaskState> tasks;
  std::vector<ProcessState> processes;
  std::vector<ObjectState> objects;
  std::uint32_t next_serial = 1;
  // Task of the latest event. 0: none.
  pid_t last_task = 0;
  // siginfo_t of the latest signal that a handler was entered for; all zero: none.
  std::array<std::byte, 128> last_signal{};
  // Wait status of the first process once it has ended.
  bool ended = false;
  int status = 0;
  // Bytes written into tasks, and calls ended, since the start.
  std::uint64_t bytes_written = 0;
  std::uint64_t system_calls = 0;

  bool operator==(const SupervisorState&) const = default;

  TaskState* find_task(pid_t tid);
  const TaskState* find_task(pid_t tid) const;
  ProcessState* find_process(pid_t pid);
  ObjectState* find_object(std::uint32_t number);
  // Whether the process has a task left.
  bool has_tasks(pid_t pid) const;
};

} // namespace rrpcp::replay
