// The order in which recorded tasks run, and waiting for what they report.
#pragma once

#include "process/tracee.h"
#include "replay/engine/recorded_task.h"
#include "replay/engine/task_waiter.h"

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace rrpcp::replay {

// The tasks of a recording, of which one executes its program at a time. Says whose turn it is,
// and hands out reports: to the one who waits for a task that runs, the others in their order. What
// a report means is the recorder's business. Use from the tracing thread. Destruction kills and
// reaps all tasks. Methods that wait or ask a task throw Error.
class Scheduler {
public:
  using Tasks = std::map<pid_t, std::unique_ptr<RecordedTask>>;

  // `interrupted` is called where a signal has interrupted a wait; it may throw.
  explicit Scheduler(std::function<void()> interrupted) : interrupted_(std::move(interrupted)) {}
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;
  ~Scheduler();

  const Tasks& tasks() const { return tasks_; }
  // Null where there is no such task (any more).
  RecordedTask* find(pid_t tid) const;
  // The task must not exist. It comes last in the order.
  RecordedTask& add(std::unique_ptr<RecordedTask> task);
  // Forgets the task; the caller has released its Tracee where it is not gone.
  void erase(pid_t tid);

  // The task whose turn it is: the latest one for some events in a row, then the next that is
  // ready. Null where none is.
  RecordedTask* choose();
  // The latest one lets others run first.
  void yield() { yield_ = true; }

  // Waits for the next stop of a task that executes its program. Where others wait for a processor
  // longer than is fair, it is interrupted (RecordedTask::interrupting).
  process::TraceeStop await_user(RecordedTask& task);
  // Waits for the next stop of a task in a system call; nothing where the call blocks and another
  // task can run, or where the task's execve(2) is reported under its process's id.
  std::optional<process::TraceeStop> await_call(RecordedTask& task);
  // Waits for the first stop of a task that its maker has just told of.
  void await_first(RecordedTask& task);

  // Takes in what was reported by now; cheap where nobody but ready tasks can have reported.
  void collect_reports();
  // Waits until something is reported, or a signal comes.
  void await_report();
  // The task whose report came first and was not looked at: it is in Tracee::last_stop(). Null
  // where there is none.
  RecordedTask* next_report();
  bool has_reports() const { return !reported_.empty(); }
  // The latest stop of the task is to be looked at (again), in its turn.
  void report_again(RecordedTask& task);
  void report_first(RecordedTask& task); // before all others that wait

  // A task can be killed at any time, also where it is taken to stand still. Its end is reported
  // later. Returns whether there is such a task that was not known; it is State::kDying now.
  bool note_dying();
  // Sends SIGKILL to all processes and returns how many they are.
  std::uint64_t kill_all();

private:
  bool others_wait(const RecordedTask& task) const;
  bool executed_by(const RecordedTask& task, pid_t tid) const;
  void queue(const TaskReport& report);

  // Waits for any report; nothing where a signal came.
  std::optional<TaskReport> wait();

  std::function<void()> interrupted_;
  TaskWaiter waiter_;
  Tasks tasks_;
  std::vector<pid_t> order_;
  std::deque<pid_t> reported_;
  std::map<pid_t, int> early_; // stops of tasks that their makers have not told of yet
  pid_t current_ = 0;
  int in_a_row_ = 0;
  std::chrono::steady_clock::time_point turn_began_;
  bool yield_ = false;
};

} // namespace rrpcp::replay
