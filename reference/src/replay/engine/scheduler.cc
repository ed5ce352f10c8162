#include "replay/engine/scheduler.h"

#include "process/proc_file.h"
#include "process/proc_stat.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <optional>
#include <string>
#include <sys/ptrace.h>
#include <thread>

namespace rrpcp::replay {

namespace {

using Clock = std::chrono::steady_clock;
using State = RecordedTask::State;

// How long a task may compute while others wait.
constexpr std::chrono::milliseconds kPatience(500);
// How long it may make calls without a stop then, with whatever stops in between.
constexpr std::chrono::milliseconds kBufferPatience(20);
// Events of one task in a row while others are ready.
constexpr int kQuantum = 100;
// After which a call that has not ended is looked at, and looked at again.
constexpr std::chrono::microseconds kGlance(50);
constexpr std::chrono::microseconds kLook(1000);
// How long a call may be uninterruptible before others run.
constexpr std::chrono::milliseconds kUninterruptiblePatience(20);

} // namespace

Scheduler::~Scheduler() {
  for (auto& [tid, task] : tasks_) {
    if (task->tracee.attached()) {
      ::kill(task->pid, SIGKILL);
    }
  }
  while (!tasks_.empty()) {
    try {
      const std::optional<TaskReport> report = waiter_.wait();
      if (!report) {
        continue; // a signal: those that were killed end nevertheless
      }
      if (RecordedTask* task = find(report->tid)) {
        if (task->tracee.take_report(report->status).gone()) {
          erase(report->tid);
        }
      } else if (!process::TraceeStop(report->status).gone()) {
        ::kill(report->tid, SIGKILL); // made just now, and not told of yet
      }
    } catch (const Error&) {
      break;
    }
  }
  for (auto& [tid, task] : tasks_) {
    task->tracee.release();
  }
}

RecordedTask* Scheduler::find(pid_t tid) const {
  auto found = tasks_.find(tid);
  return found != tasks_.end() ? found->second.get() : nullptr;
}

RecordedTask& Scheduler::add(std::unique_ptr<RecordedTask> task) {
  RecordedTask& added = *task;
  order_.push_back(added.tid);
  tasks_.emplace(added.tid, std::move(task));
  return added;
}

void Scheduler::erase(pid_t tid) {
  tasks_.erase(tid);
  std::erase(order_, tid);
  std::erase(reported_, tid);
}

RecordedTask* Scheduler::choose() {
  RecordedTask* current = find(current_);
  if (current != nullptr && current->state == State::kReady && !yield_ && in_a_row_ < kQuantum &&
      (!current->buffer->active() || Clock::now() - turn_began_ < kBufferPatience)) {
    ++in_a_row_;
    return current;
  }
  yield_ = false;
  in_a_row_ = 0;
  turn_began_ = Clock::now();
  auto at = std::find(order_.begin(), order_.end(), current_);
  const std::size_t start =
      at != order_.end() ? static_cast<std::size_t>(at - order_.begin()) + 1 : 0;
  for (std::size_t i = 0; i < order_.size(); ++i) {
    const pid_t tid = order_[(start + i) % order_.size()];
    if (find(tid)->state == State::kReady) {
      current_ = tid;
      return find(tid);
    }
  }
  return nullptr;
}

bool Scheduler::others_wait(const RecordedTask& task) const {
  return !reported_.empty() || task.signal_due() ||
         std::any_of(tasks_.begin(), tasks_.end(), [&](const auto& entry) {
           return entry.second.get() != &task && entry.second->state == State::kReady;
         });
}

void Scheduler::queue(const TaskReport& report) {
  RecordedTask* task = find(report.tid);
  if (task == nullptr) {
    early_[report.tid] = report.status;
    return;
  }
  task->tracee.take_report(report.status);
  if (!task->tracee.pass_filter_stop()) {
    report_again(*task);
  }
}

void Scheduler::collect_reports() {
  const bool expected = std::any_of(tasks_.begin(), tasks_.end(), [](const auto& entry) {
    return entry.second->state != State::kReady;
  });
  if (!expected && reported_.empty()) {
    return;
  }
  while (std::optional<TaskReport> report = waiter_.poll()) {
    queue(*report);
  }
}

std::optional<TaskReport> Scheduler::wait() {
  std::optional<TaskReport> report = waiter_.wait();
  if (!report) {
    interrupted_();
  }
  return report;
}

void Scheduler::await_report() {
  if (std::optional<TaskReport> report = wait()) {
    queue(*report);
    collect_reports();
  }
}

RecordedTask* Scheduler::next_report() {
  while (!reported_.empty()) {
    RecordedTask* task = find(reported_.front());
    reported_.pop_front();
    if (task != nullptr && task->reported) {
      task->reported = false;
      return task;
    }
  }
  return nullptr;
}

void Scheduler::report_again(RecordedTask& task) {
  task.reported = true;
  reported_.push_back(task.tid);
}

void Scheduler::report_first(RecordedTask& task) {
  task.reported = true;
  reported_.push_front(task.tid);
}

process::TraceeStop Scheduler::await_user(RecordedTask& task) {
  for (;;) {
    std::optional<TaskReport> report;
    if (others_wait(task)) {
      // (Signals may come faster than this would ever wait in vain.)
      const Clock::duration ran = Clock::now() - task.resumed_at;
      if (!task.interrupting && ran >= kPatience) {
        task.interrupting = true;
        task.tracee.interrupt();
      }
      if (ran >= kBufferPatience) {
        task.want_stop();
        yield_ = true;
      }
      report = waiter_.wait_for(ran < kBufferPatience ? std::chrono::milliseconds(kBufferPatience)
                                                      : std::chrono::milliseconds(100));
      if (!report) {
        continue;
      }
    } else {
      report = wait();
      if (!report) {
        continue;
      }
    }
    if (report->tid == task.tid) {
      task.tracee.take_report(report->status);
      if (task.tracee.pass_filter_stop()) {
        continue;
      }
      return task.tracee.last_stop();
    }
    queue(*report);
    task.want_stop();
  }
}

std::optional<process::TraceeStop> Scheduler::await_call(RecordedTask& task) {
  const Clock::time_point start = Clock::now();
  for (auto patience = kGlance;; patience = kLook) {
    const bool others = others_wait(task);
    if (std::optional<TaskReport> report = others ? waiter_.wait_for(patience) : wait()) {
      if (report->tid == task.tid) {
        task.tracee.take_report(report->status);
        if (task.tracee.pass_filter_stop()) {
          continue;
        }
        return task.tracee.last_stop();
      }
      queue(*report);
      if (executed_by(task, report->tid)) {
        return std::nullopt;
      }
      continue;
    }
    if (!others) {
      continue;
    }
    const std::optional<std::string> text =
        process::try_read_file(process::proc_task_path(task.pid, task.tid, "stat"));
    const char state = text ? process::ProcStat::parse(*text).state : 'X';
    if (state == 'S' || (state == 'D' && Clock::now() - start > kUninterruptiblePatience)) {
      return std::nullopt;
    }
  }
}

void Scheduler::await_first(RecordedTask& task) {
  if (auto early = early_.find(task.tid); early != early_.end()) {
    task.tracee.take_report(early->second);
    early_.erase(early);
  } else {
    task.tracee.wait();
  }
}

// Whether the execve(2) of `task` succeeded and is reported under the id of its process, `tid`.
bool Scheduler::executed_by(const RecordedTask& task, pid_t tid) const {
  const RecordedTask* leader = find(tid);
  return leader != nullptr && leader->pid == task.pid && tid == task.pid &&
         leader->tracee.attached() && leader->tracee.last_stop().event() == PTRACE_EVENT_EXEC;
}

namespace {

// A zombie, or not there any more.
bool is_dead(const RecordedTask& task) {
  const std::optional<std::string> text =
      process::try_read_file(process::proc_task_path(task.pid, task.tid, "stat"));
  const char state = text ? process::ProcStat::parse(*text).state : 'X';
  return state == 'Z' || state == 'X';
}

} // namespace

bool Scheduler::note_dying() {
  // A task that was killed in a call that the recorder makes in it may need a moment to be dead.
  for (int attempt = 0; attempt < 100; ++attempt) {
    bool found = false;
    for (auto& [tid, task] : tasks_) {
      if (task->state == State::kDying) {
        continue;
      }
      if (!task->tracee.attached()) {
        // Its end was reported already, to the one who had it make a call.
        if (task->tracee.last_stop().gone() && !task->reported) {
          task->state = State::kDying;
          report_again(*task);
          found = true;
        }
        continue;
      }
      unsigned long message = 0;
      const bool killed_in_stop = task->tracee.stopped() &&
                                  ::ptrace(PTRACE_GETEVENTMSG, tid, nullptr, &message) != 0 &&
                                  errno == ESRCH;
      if (killed_in_stop || is_dead(*task)) {
        task->state = State::kDying;
        found = true;
      }
    }
    if (found || has_reports()) { // one of which may tell
      return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return false;
}

std::uint64_t Scheduler::kill_all() {
  std::uint64_t processes = 0;
  for (auto& [tid, task] : tasks_) {
    if (tid == task->pid) {
      ++processes;
    }
    ::kill(task->pid, SIGKILL);
  }
  return processes;
}

} // namespace rrpcp::replay
