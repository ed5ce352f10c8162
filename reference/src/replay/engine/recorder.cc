#include "replay/engine/recorder.h"

#include "base/scoped_fd.h"
#include "process/proc_status.h"
#include "replay/engine/changed_pages.h"
#include "replay/engine/host_trials.h"
#include "replay/engine/program_start.h"
#include "replay/engine/trace_start.h"
#include "rrpcp/error.h"
#include "rrpcp/replay/record.h"
#include "trace/private_entries.h"

#include <capnp/message.h>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace rrpcp::replay {

namespace {

using Clock = std::chrono::steady_clock;
using State = RecordedTask::State;

sigset_t current_mask() {
  sigset_t mask;
  ::sigemptyset(&mask);
  ::sigprocmask(SIG_BLOCK, nullptr, &mask);
  return mask;
}

process::Tracee seize_first(pid_t pid) {
  try {
    return process::Tracee::seize(pid, kRecorderOptions);
  } catch (const Error&) {
    if (!can_trace()) {
      throw tracing_refused();
    }
    throw;
  }
}

} // namespace

Recorder::Recorder(const RecordOptions& options)
    : options_(options), inherited_mask_(current_mask()), model_(options.cpuid),
      file_cache_(options.cache_directory),
      code_([this](schema::TrappedInstruction kind) { return traps_.processor_traps(kind); },
            [this](const std::string& text) { notice_once(text); }, !model_.native(),
            traps_.trapped_too, background_, file_cache_) {
  for (const int own : {1, 2}) {
    struct stat& output = own_outputs_[static_cast<std::size_t>(own)];
    if (::fstat(own, &output) != 0 || (!S_ISFIFO(output.st_mode) && ::isatty(own) == 0)) {
      output = {};
    }
  }
}

void Recorder::stop_if_told() const {
  if (!options_.stop) {
    return;
  }
  if (const std::optional<std::string> reason = options_.stop()) {
    throw Error(ErrorCode::kDivergence, *reason)
        .with_hint("the recording was ended; what is in the trace up to there can be replayed");
  }
}

void Recorder::notice_once(const std::string& text) {
  if (options_.notice && noticed_.insert(text).second) {
    options_.notice(text);
  }
}

void Recorder::start() {
  const int inherited = ::personality(0xffffffff);
  std::optional<ProgramStart> begun;
  begun.emplace(ProgramOptions{options_.command, options_.ignored_signals, inherited_mask_,
                               static_cast<unsigned long>(inherited) | ADDR_NO_RANDOMIZE,
                               options_.buffer_calls});
  const pid_t pid = begun->pid();
  first_process_ = pid;
  RecordedTask& first = scheduler_.add(std::make_unique<RecordedTask>(pid, pid, seize_first(pid)));
  first.says_not_random = (inherited & ADDR_NO_RANDOMIZE) != 0;
  first.affinity = binding_.before();
  begun->go();
  for (;;) {
    const process::TraceeStop stop = first.tracee.wait();
    if (stop.gone()) {
      begun->done();
      scheduler_.erase(pid);
      if (const std::optional<int> error = begun->failure()) {
        throw system_error(*error, "cannot execute the program").in_file(options_.command[0]);
      }
      throw Error(ErrorCode::kProcessGone, "the program was killed before it began");
    }
    if (stop.event() == PTRACE_EVENT_EXEC) {
      begun->done();
      break;
    }
    first.tracee.resume(PTRACE_CONT, stop.signal());
  }
  begun.reset();
  first.begun = true; // its call is not in the trace
  const process::ProcStatus own = process::ProcStatus::read(::getpid(), ::getpid());
  const process::ProcStatus program = process::ProcStatus::read(pid, pid);
  filtered_ = program.seccomp != own.seccomp;
  took_privileges_ = program.no_new_privileges != own.no_new_privileges;
  on_exec(first, pid);
  if (options_.started) {
    options_.started(pid);
  }
}

void Recorder::handle_reports() {
  while (RecordedTask* task = scheduler_.next_report()) {
    const pid_t tid = task->tid;
    bool running = handle(*task, task->tracee.last_stop());
    while (running) {
      // Went on in the middle of its program: no other may run before it has stopped.
      RecordedTask& going_on = *scheduler_.find(tid);
      running = handle(going_on, scheduler_.await_user(going_on));
    }
    complete_run(tid);
  }
}

// A task that was taken back from a call's entry has executed its program up to there, and no event
// says so yet: another one that ran before it would find that done, and in a replay not.
void Recorder::complete_run(pid_t tid) {
  RecordedTask* task = scheduler_.find(tid);
  if (task != nullptr && task->called_off && task->state == State::kReady && !task->reported) {
    run_task(*task);
  }
}

void Recorder::run_task(RecordedTask& task) {
  if (task.at_entry) {
    leave_entry(task);
    return;
  }
  task.pending_there = 0;
  if (task.passing && !pass_to_task(task)) {
    return;
  }
  if (!task.held.empty() && !task.passing) {
    raise_held(task);
  }
  if (task.traced) {
    task.traced->exec_call = -1;
  }
  const pid_t tid = task.tid;
  task.state = State::kRunning;
  if (task.preempted) {
    task.slice = std::make_unique<PageDigests>(task.tid, task.memory, PageRange(), task.made_code);
  }
  task.resumed_at = Clock::now();
  note_pending(task);
  let_run(task, std::exchange(task.resume_signal, 0));
  bool running = true;
  while (running) {
    RecordedTask& going_on = *scheduler_.find(tid);
    running = handle(going_on, scheduler_.await_user(going_on));
  }
  if (RecordedTask* ran = scheduler_.find(tid)) {
    ran->slice.reset();
  }
  complete_run(tid);
}

// Looks at a stop. Returns true where the task was let go on in the middle of its program.
bool Recorder::handle(RecordedTask& task, const process::TraceeStop& stop) {
  const pid_t tid = task.tid;
  empty_buffer(task, stop);
  const bool running = !save_refused(task, stop) && handle_stop(task, stop);
  if (RecordedTask* after = scheduler_.find(tid); !running && after != nullptr && after->traced) {
    settle(*after);
  }
  return running;
}

bool Recorder::handle_stop(RecordedTask& task, const process::TraceeStop& stop) {
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
  case PTRACE_EVENT_SECCOMP:
    return calls_vsyscall(task) || on_entry(task);
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
  if (task.state == State::kRunning &&
      (stop.group_stop() || (stop.event_stop() && task.interrupting))) {
    leave_buffer(task, stop.group_stop());
  }
  if (stop.group_stop()) {
    const user_regs_struct registers = task.tracee.registers();
    if (task.went_on || task.called_off ||
        std::memcmp(&task.boundary, &registers, sizeof registers) != 0) {
      preempt(task);
    }
    if (task.traced) {
      trace_stopped_group(task, WSTOPSIG(stop.status()));
      return false;
    }
    task.tracee.resume(PTRACE_LISTEN);
    task.state = State::kStopped;
    return false;
  }
  if (stop.event_stop()) {
    if (task.state == State::kStopped) { // SIGCONT
      task.state = State::kReady;
      if (task.traced && std::exchange(task.traced->listening, false)) {
        note_continued(task.pid);
        task.traced->interrupted = true;
      }
      return false;
    }
    if (task.interrupting && task.state == State::kRunning) {
      task.interrupting = false;
      preempt(task);
      task.state = State::kReady;
      return false;
    }
    if (on_end_of_group_stop(task)) {
      return false;
    }
    const bool running = task.state == State::kRunning;
    if (running) {
      // (The notice of a process that goes on comes before the signal by which it does.)
      const user_regs_struct registers = task.tracee.registers();
      if (std::memcmp(&task.boundary, &registers, sizeof registers) != 0) {
        task.went_on = true;
      }
      let_run(task);
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
  // A thread's end is waited for: the others see what the kernel writes for it. That of a leader is
  // reported after all of them.
  const bool ends = task.call.number == SYS_exit && task.tid != task.pid;
  const bool begun = task.state == State::kInCall;
  if (begun && !ends) {
    return;
  }
  if (std::optional<process::TraceeStop> stop = scheduler_.await_call(task)) {
    handle(*scheduler_.find(tid), *stop);
    return;
  }
  if (!begun) {
    begin_call(task);
  }
}

RecordResult Recorder::run() {
  {
    schema::TraceStart::Builder begin = start_.initRoot<schema::TraceStart>();
    describe_start(options_.command, begin);
    begin.setProcessor(binding_.processor());
    begin.setCpuidFaulting(true);
    begin.setCpuidModel(model_.name());
    model_.restrict(begin.getCpu());
    const std::string images = options_.directory + "/images";
    if (!trace::make_private_directory(images)) {
      throw system_error(EEXIST, "cannot make a directory").in_file(images);
    }
    writer_.emplace(options_.directory, begin.asReader(), background_, file_cache_);
  }
  start();
  RecordResult result;
  bool ended = false;
  while (!scheduler_.tasks().empty()) {
    if (status_ && !options_.wait_for_all && !std::exchange(ended, true)) {
      result.killed = scheduler_.kill_all();
    }
    stop_if_told();
    try {
      // (There are some where the end of a task came while another one's was handled.)
      if (!scheduler_.has_reports()) {
        RecordedTask* task = ended ? nullptr : scheduler_.choose();
        if (task != nullptr) {
          run_task(*task);
          scheduler_.collect_reports();
        } else {
          scheduler_.await_report();
        }
      }
      handle_reports();
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kProcessGone || !scheduler_.note_dying()) {
        throw;
      }
    }
  }
  result.status = status_.value_or(0);
  result.events = writer_->finish(result.status);
  return result;
}

} // namespace rrpcp::replay

namespace rrpcp {

std::uint64_t ignored_signals() {
  std::uint64_t set = 0;
  for (int signal = 1; signal < NSIG; ++signal) {
    struct sigaction action {};
    if (::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN) {
      set |= std::uint64_t{1} << (signal - 1);
    }
  }
  return set;
}

RecordResult record_program(const RecordOptions& options) {
  return replay::Recorder(options).run();
}

} // namespace rrpcp
