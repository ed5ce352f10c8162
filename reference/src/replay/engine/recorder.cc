#include "replay/engine/recorder.h"

#include "base/scoped_fd.h"
#include "process/proc_file.h"
#include "process/proc_stat.h"
#include "replay/engine/changed_pages.h"
#include "replay/engine/task_waiter.h"
#include "replay/engine/trace_start.h"
#include "replay/trace/event.h"
#include "rrpcp/error.h"
#include "rrpcp/record.h"

#include <algorithm>
#include <capnp/message.h>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <optional>
#include <sched.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <unistd.h>

namespace rrpcp::replay {

namespace {

using Clock = std::chrono::steady_clock;
using State = RecordedTask::State;

// How long a task may compute while others wait.
constexpr std::chrono::milliseconds kPatience(500);
// Events of one task in a row while others are ready.
constexpr int kQuantum = 100;
// How long a call may be uninterruptible before others run.
constexpr std::chrono::milliseconds kUninterruptiblePatience(20);
constexpr std::chrono::seconds kFlushInterval(1);

sigset_t current_mask() {
  sigset_t mask;
  ::sigemptyset(&mask);
  ::sigprocmask(SIG_BLOCK, nullptr, &mask);
  return mask;
}

} // namespace

Recorder::Recorder(const RecordOptions& options)
    : options_(options), started_(Clock::now()), inherited_mask_(current_mask()),
      code_([this](schema::TrappedInstruction kind) { return traps_.processor_traps(kind); },
            [this](const std::string& text) { notice_once(text); }) {}

EventData& Recorder::begin_event(EventKind kind, RecordedTask& task) {
  task.preempted = kind == EventKind::kPreemption;
  event_.clear();
  event_.kind = kind;
  event_.task = task.tid;
  event_.time = static_cast<std::uint64_t>((Clock::now() - started_).count());
  return event_;
}

void Recorder::write_event() {
  if (scratch_.empty()) {
    scratch_.resize(1024);
  }
  capnp::MallocMessageBuilder message(kj::arrayPtr(scratch_.data(), scratch_.size()));
  schema::Event::Builder root = message.initRoot<schema::Event>();
  event_.encode(root);
  event_.pieces(pieces_);
  writer_->append(root.asReader(), pieces_);
  flush_now_and_then();
}

// What is in the file survives us.
void Recorder::flush_now_and_then() {
  const auto now = std::chrono::nanoseconds(event_.time);
  if (now - flushed_at_ >= kFlushInterval) {
    writer_->flush();
    flushed_at_ = now;
  }
}

void Recorder::add_memory(RecordedTask& task, std::uint64_t address, std::uint64_t length,
                          std::vector<EventData::Write>& list) {
  ByteRange range;
  const std::span<std::byte> room = event_.append(length, range);
  const std::size_t read = task.memory.read_some(address, room);
  event_.shrink(range, length - read);
  if (range.length != 0) {
    list.push_back({address, range});
  }
}

void Recorder::notice_once(const std::string& text) {
  if (options_.notice && noticed_.insert(text).second) {
    options_.notice(text);
  }
}

Recorder::~Recorder() {
  for (auto& [tid, task] : tasks_) {
    if (task->tracee.attached()) {
      ::kill(task->pid, SIGKILL);
    }
  }
  while (!tasks_.empty()) {
    try {
      std::optional<TaskReport> report = waiter_.wait();
      if (!report) {
        break;
      }
      if (RecordedTask* task = find(report->tid)) {
        if (task->tracee.take_report(report->status).gone()) {
          erase(report->tid);
        }
      }
    } catch (const Error&) {
      break;
    }
  }
  for (auto& [tid, task] : tasks_) {
    task->tracee.release();
  }
}

RecordedTask* Recorder::find(pid_t tid) {
  auto found = tasks_.find(tid);
  return found != tasks_.end() ? found->second.get() : nullptr;
}

void Recorder::erase(pid_t tid) {
  tasks_.erase(tid);
  std::erase(order_, tid);
  std::erase(reported_, tid);
}

void Recorder::start() {
  int ready[2];
  int failed[2];
  if (::pipe2(ready, O_CLOEXEC) != 0 || ::pipe2(failed, O_CLOEXEC) != 0) {
    throw system_error(errno, "cannot make a pipe");
  }
  ScopedFd ready_read(ready[0]);
  ScopedFd ready_write(ready[1]);
  ScopedFd failed_read(failed[0]);
  ScopedFd failed_write(failed[1]);
  std::vector<char*> arguments;
  for (const std::string& argument : options_.command) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) {
    throw system_error(errno, "cannot create a process");
  }
  if (pid == 0) {
    ::sigprocmask(SIG_SETMASK, &inherited_mask_, nullptr);
    ::personality(ADDR_NO_RANDOMIZE);
    char byte = 0;
    if (::read(ready_read.get(), &byte, 1) == 1) {
      ::execvp(arguments[0], arguments.data());
    }
    const int error = errno;
    [[maybe_unused]] const ssize_t n = ::write(failed_write.get(), &error, sizeof error);
    ::_exit(127);
  }
  failed_write.reset();
  first_process_ = pid;
  auto task = std::make_unique<RecordedTask>(pid, pid, Tracee::seize(pid, kRecorderOptions));
  RecordedTask& first = *task;
  tasks_.emplace(pid, std::move(task));
  order_.push_back(pid);
  if (::write(ready_write.get(), "x", 1) != 1) {
    throw system_error(errno, "cannot start the program");
  }
  for (;;) {
    const TraceeStop stop = first.tracee.wait();
    if (stop.gone()) {
      erase(pid);
      int error = 0;
      if (::read(failed_read.get(), &error, sizeof error) == sizeof error) {
        throw system_error(error, "cannot execute the program").in_file(options_.command[0]);
      }
      throw Error(ErrorCode::kProcessGone, "the program was killed before it began");
    }
    if (stop.event() == PTRACE_EVENT_EXEC) {
      break;
    }
    first.tracee.resume(PTRACE_CONT, stop.signal());
  }
  first.begun = true; // its call is not in the trace
  on_exec(first, pid);
  if (options_.started) {
    options_.started(pid);
  }
}

RecordedTask* Recorder::choose() {
  RecordedTask* current = find(current_);
  if (current != nullptr && current->state == State::kReady && !yield_ && in_a_row_ < kQuantum) {
    ++in_a_row_;
    return current;
  }
  yield_ = false;
  in_a_row_ = 0;
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

bool Recorder::others_wait(const RecordedTask& task) const {
  return !reported_.empty() || !task.held.empty() ||
         std::any_of(tasks_.begin(), tasks_.end(), [&](const auto& entry) {
           return entry.second.get() != &task && entry.second->state == State::kReady;
         });
}

void Recorder::queue(const TaskReport& report) {
  RecordedTask* task = find(report.tid);
  if (task == nullptr) {
    early_[report.tid] = report.status;
    return;
  }
  task->tracee.take_report(report.status);
  task->reported = true;
  reported_.push_back(report.tid);
}

void Recorder::collect_reports() {
  while (std::optional<TaskReport> report = waiter_.poll()) {
    queue(*report);
  }
}

void Recorder::handle_reports() {
  while (!reported_.empty()) {
    const pid_t tid = reported_.front();
    reported_.erase(reported_.begin());
    RecordedTask* task = find(tid);
    if (task != nullptr && task->reported) {
      task->reported = false;
      while (handle(*task, task->tracee.last_stop())) {
        // Went on in the middle of its program: no other may run before it has stopped.
        const TraceeStop stop = await_user(*task);
        task = find(tid);
        if (handle(*task, stop)) {
          continue;
        }
        break;
      }
    }
  }
}

TraceeStop Recorder::await_user(RecordedTask& task) {
  for (;;) {
    std::optional<TaskReport> report;
    if (others_wait(task)) {
      report = waiter_.wait_for(std::chrono::milliseconds(100));
      if (!report) {
        if (!task.interrupting && Clock::now() - task.resumed_at >= kPatience) {
          task.interrupting = true;
          task.tracee.interrupt();
        }
        continue;
      }
    } else {
      report = waiter_.wait();
      if (!report) {
        continue;
      }
    }
    if (report->tid == task.tid) {
      return task.tracee.take_report(report->status);
    }
    queue(*report);
  }
}

// Nothing where the call blocks and another task can run.
std::optional<TraceeStop> Recorder::await_call(RecordedTask& task) {
  const Clock::time_point start = Clock::now();
  for (int attempt = 0;; ++attempt) {
    const bool others = others_wait(task);
    std::optional<TaskReport> report = others ? waiter_.poll() : waiter_.wait();
    if (report) {
      if (report->tid == task.tid) {
        return task.tracee.take_report(report->status);
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
    if (attempt < 20) {
      ::sched_yield();
      continue;
    }
    const std::optional<std::string> text =
        try_read_file(proc_task_path(task.pid, task.tid, "stat"));
    const char state = text ? ProcStat::parse(*text).state : 'X';
    if (state == 'S' || (state == 'D' && Clock::now() - start > kUninterruptiblePatience)) {
      return std::nullopt;
    }
    if (attempt < 200) {
      ::sched_yield();
    } else if (std::optional<TaskReport> late = waiter_.wait_for(std::chrono::milliseconds(1))) {
      if (late->tid == task.tid) {
        return task.tracee.take_report(late->status);
      }
      queue(*late);
      if (executed_by(task, late->tid)) {
        return std::nullopt;
      }
    }
  }
}

// Whether the execve(2) of `task` succeeded and is reported under the id of its process, `tid`.
bool Recorder::executed_by(const RecordedTask& task, pid_t tid) {
  const RecordedTask* leader = find(tid);
  return leader != nullptr && leader->pid == task.pid && tid == task.pid &&
         leader->tracee.attached() && leader->tracee.last_stop().event() == PTRACE_EVENT_EXEC;
}

void Recorder::run_task(RecordedTask& task) {
  if (!task.held.empty()) {
    raise_held(task);
  }
  const pid_t tid = task.tid;
  task.state = State::kRunning;
  if (task.preempted) {
    task.slice = std::make_unique<PageDigests>(task.tid, task.memory);
  }
  task.resumed_at = Clock::now();
  task.tracee.resume(PTRACE_SYSCALL, std::exchange(task.resume_signal, 0));
  for (;;) {
    RecordedTask* running = find(tid);
    const TraceeStop stop = await_user(*running);
    if (!handle(*running, stop)) {
      break;
    }
  }
  if (RecordedTask* ran = find(tid)) {
    ran->slice.reset();
  }
}

// Looks at a stop. Returns true where the task was let go on in the middle of its program.
bool Recorder::handle(RecordedTask& task, const TraceeStop& stop) {
  if (stop.gone()) {
    on_gone(task, stop);
    return false;
  }
  if (stop.syscall_stop()) {
    if (task.in_call) {
      on_call_end(task);
      return false;
    }
    return on_entry(task);
  }
  switch (stop.event()) {
  case PTRACE_EVENT_CLONE:
  case PTRACE_EVENT_FORK:
  case PTRACE_EVENT_VFORK:
    on_new_task(task);
    return false;
  case PTRACE_EVENT_EXEC:
    on_exec(task, static_cast<pid_t>(task.tracee.event_message()));
    return false;
  default:
    break;
  }
  if (stop.group_stop()) {
    const user_regs_struct registers = task.tracee.registers();
    if (std::memcmp(&task.boundary, &registers, sizeof registers) != 0) {
      preempt(task);
    }
    task.tracee.resume(PTRACE_LISTEN);
    task.state = State::kStopped;
    return false;
  }
  if (stop.event_stop()) {
    if (task.state == State::kStopped) { // SIGCONT
      task.state = State::kReady;
      return false;
    }
    if (task.interrupting && task.state == State::kRunning) {
      task.interrupting = false;
      preempt(task);
      task.state = State::kReady;
      return false;
    }
    const bool running = task.state == State::kRunning;
    if (running) {
      task.tracee.resume(PTRACE_SYSCALL);
    } else {
      task.state = State::kReady;
    }
    return running;
  }
  if (const int signal = stop.signal(); signal != 0) {
    return on_signal(task, signal);
  }
  task.state = State::kReady;
  return false;
}

// Lets a task go on in its system call until the call ends or blocks.
void Recorder::resume_call(RecordedTask& task) {
  const pid_t tid = task.tid;
  task.tracee.resume(PTRACE_SYSCALL);
  if (task.state == State::kInCall) {
    return;
  }
  if (std::optional<TraceeStop> stop = await_call(task)) {
    handle(*find(tid), *stop);
    return;
  }
  begin_call(task);
}

// A task can be killed at any time, also where we take it to stand still. Its end is reported
// later. Returns whether there is such a task that was not known.
bool Recorder::note_dying() {
  bool found = false;
  for (auto& [tid, task] : tasks_) {
    unsigned long message = 0;
    if (task->state != State::kDying && task->tracee.attached() && task->tracee.stopped() &&
        ::ptrace(PTRACE_GETEVENTMSG, tid, nullptr, &message) != 0 && errno == ESRCH) {
      if (task->state == State::kInCall) {
        --in_call_;
      }
      task->state = State::kDying;
      found = true;
    }
  }
  return found;
}

void Recorder::end() {
  for (auto& [tid, task] : tasks_) {
    if (tid == task->pid) {
      ++killed_;
    }
    ::kill(task->pid, SIGKILL);
  }
}

RecordResult Recorder::run() {
  {
    capnp::MallocMessageBuilder message;
    schema::TraceStart::Builder begin = message.initRoot<schema::TraceStart>();
    describe_start(options_.command, begin);
    begin.setProcessor(binding_.processor());
    if (::mkdir((options_.directory + "/images").c_str(), 0777) != 0) {
      throw system_error(errno, "cannot make a directory").in_file(options_.directory);
    }
    writer_.emplace(options_.directory, begin.asReader());
    files_.emplace(*writer_);
  }
  start();
  bool ended = false;
  while (!tasks_.empty()) {
    if (status_ && !options_.wait_for_all && !std::exchange(ended, true)) {
      end();
    }
    try {
      RecordedTask* task = ended ? nullptr : choose();
      if (task != nullptr) {
        run_task(*task);
        if (in_call_ > 0 || !reported_.empty()) {
          collect_reports();
        }
      } else if (std::optional<TaskReport> report = waiter_.wait()) {
        queue(*report);
        collect_reports();
      }
      handle_reports();
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kProcessGone || !note_dying()) {
        throw;
      }
    }
  }
  RecordResult result;
  result.status = status_.value_or(0);
  result.events = writer_->next_event() - 1;
  result.killed = killed_;
  files_->sync();
  writer_->finish(result.status);
  return result;
}

} // namespace rrpcp::replay

namespace rrpcp {

RecordResult record_program(const RecordOptions& options) {
  return replay::Recorder(options).run();
}

} // namespace rrpcp
