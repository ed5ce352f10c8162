#include "base/scoped_fd.h"
#include "process/proc_file.h"
#include "process/proc_maps.h"
#include "process/proc_stat.h"
#include "process/proc_status.h"
#include "replay/engine/call_outputs.h"
#include "replay/engine/changed_pages.h"
#include "replay/engine/fault_action.h"
#include "replay/engine/injected_calls.h"
#include "replay/engine/process_image.h"
#include "replay/engine/processor_binding.h"
#include "replay/engine/recorded_task.h"
#include "replay/engine/system_call_names.h"
#include "replay/engine/task_waiter.h"
#include "replay/engine/trace_start.h"
#include "replay/trace/event.h"
#include "replay/trace/file_store.h"
#include "rrpcp/error.h"
#include "rrpcp/record.h"
#include "rrpcp/trace_writer.h"

#include <algorithm>
#include <capnp/message.h>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/kcmp.h>
#include <linux/seccomp.h>
#include <map>
#include <optional>
#include <sched.h>
#include <set>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

namespace rrpcp::replay {

namespace {

using Clock = std::chrono::steady_clock;
using State = RecordedTask::State;

constexpr std::uint32_t kNoteXstate = 0x202; // NT_X86_XSTATE
// How long a task may compute while others wait.
constexpr std::chrono::milliseconds kPatience(500);
// Events of one task in a row while others are ready.
constexpr int kQuantum = 100;
// How long a call may be uninterruptible before others run.
constexpr std::chrono::milliseconds kUninterruptiblePatience(20);
constexpr std::chrono::seconds kFlushInterval(1);
// Bytes of a preempted task's memory that are held at once.
constexpr std::uint64_t kMaxPreemptedRange = 1 << 20;
constexpr std::uint64_t kCloneUntraced = 0x00800000;
constexpr std::uint64_t kCloneClearHandlers = 0x100000000; // CLONE_CLEAR_SIGHAND
constexpr long kX32Bit = 0x40000000;                       // __X32_SYSCALL_BIT
constexpr long kMapShadowStack = 453;                      // map_shadow_stack(2), Linux 6.6
constexpr std::uint64_t kNewUserfaultfd = 0xaa00;          // USERFAULTFD_IOC_NEW
constexpr std::uint64_t kUserDispatch = 59;                // PR_SET_SYSCALL_USER_DISPATCH
// asm/prctl.h
constexpr std::uint64_t kSetCpuid = 0x1012;          // ARCH_SET_CPUID
constexpr std::uint64_t kMapVdsoX32 = 0x2001;        // ARCH_MAP_VDSO_X32
constexpr std::uint64_t kMapVdso64 = 0x2003;         // ARCH_MAP_VDSO_64
constexpr std::uint64_t kEnableTagging = 0x4002;     // ARCH_ENABLE_TAGGED_ADDR
constexpr std::uint64_t kEnableShadowStack = 0x5001; // ARCH_SHSTK_ENABLE
constexpr std::uint64_t kResetHandler = 0x80000000;  // SA_RESETHAND
constexpr std::uintptr_t kTraceOptions = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE |
                                         PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                                         PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;

// struct clone_args of clone3(2).
struct CloneArguments {
  std::uint64_t flags = 0;
  std::uint64_t pidfd = 0;
  std::uint64_t child_tid = 0;
  std::uint64_t parent_tid = 0;
};

// Frame of a signal handler (arch/x86/include/asm/sigframe.h): where the pointer to the FPU state
// is in it, and how large that is.
constexpr std::uint64_t kFramePointerOffset = 8 + 40 + 184;
constexpr std::uint64_t kFrameWithoutFpu = 8 + 304 + 128;
constexpr std::uint64_t kFpuMagicOffset = 464;
constexpr std::uint32_t kFpuMagic = 0x46505853;
constexpr std::uint64_t kFpuLegacySize = 512;
constexpr std::uint64_t kFpuTrailer = 4;

bool is_synchronous(const siginfo_t& info) {
  switch (info.si_signo) {
  case SIGILL:
  case SIGTRAP:
  case SIGBUS:
  case SIGFPE:
  case SIGSEGV:
    return info.si_code > 0;
  default:
    return false;
  }
}

sigset_t current_mask() {
  sigset_t mask;
  ::sigemptyset(&mask);
  ::sigprocmask(SIG_BLOCK, nullptr, &mask);
  return mask;
}

std::string strip(std::string path) {
  constexpr std::string_view kDeleted = " (deleted)";
  if (path.ends_with(kDeleted)) {
    path.resize(path.size() - kDeleted.size());
  }
  return path;
}

// While it lives, filters of seccomp(2) do not see the task's calls: those that the recorder has it
// make. Needs CAP_SYS_ADMIN; without it, the filters decide.
class SuspendedFilters {
public:
  explicit SuspendedFilters(const RecordedTask& task)
      : tid_(ProcStatus::read(task.pid, task.tid).seccomp != 0 ? task.tid : 0) {
    set(kTraceOptions | PTRACE_O_SUSPEND_SECCOMP);
  }
  SuspendedFilters(const SuspendedFilters&) = delete;
  SuspendedFilters& operator=(const SuspendedFilters&) = delete;
  ~SuspendedFilters() { set(kTraceOptions); }

  bool needed() const { return tid_ != 0; }

private:
  void set(std::uintptr_t options) const {
    if (tid_ != 0) {
      ::ptrace(PTRACE_SETOPTIONS, tid_, nullptr, options);
    }
  }

  pid_t tid_;
};

class Recorder {
public:
  explicit Recorder(const RecordOptions& options) : options_(options), started_(Clock::now()) {}
  ~Recorder();

  RecordResult run();

private:
  // recorder.cc: the order of tasks
  void start();
  void run_task(RecordedTask& task);
  RecordedTask* choose();
  bool others_wait(const RecordedTask& task) const;
  void queue(const TaskReport& report);
  void collect_reports();
  void handle_reports();
  TraceeStop await_user(RecordedTask& task);
  std::optional<TraceeStop> await_call(RecordedTask& task);
  bool executed_by(const RecordedTask& task, pid_t tid);
  bool handle(RecordedTask& task, const TraceeStop& stop);
  void resume_call(RecordedTask& task);
  RecordedTask* find(pid_t tid);
  void erase(pid_t tid);
  bool note_dying();
  void end();

  // calls
  void require_64_bit(const RecordedTask& task) const;
  bool on_entry(RecordedTask& task);
  void prepare_call(RecordedTask& task);
  void answer(RecordedTask& task, std::int64_t result, const std::string& what);
  void prepare_prctl(RecordedTask& task);
  static std::string descriptor_name(const RecordedTask& task, std::uint64_t fd);
  void refuse_mapping(RecordedTask& task);
  void put_back_untraced(const RecordedTask& task, RecordedTask& in);
  void note_output(RecordedTask& task);
  void note_object(RecordedTask& task);
  void on_call_end(RecordedTask& task);
  void end_call(RecordedTask& task);
  bool was_filtered(const RecordedTask& task) const;
  void note_mask(RecordedTask& task);
  void record_outputs(RecordedTask& task, std::int64_t result);
  void record_mapping(RecordedTask& task, std::uint64_t address);
  void record_segment(RecordedTask& task, std::uint64_t address);
  void record_object(std::uint32_t number, int fd, std::uint64_t offset, std::uint64_t length);
  void record_object_write(RecordedTask& task, std::int64_t result);
  std::uint32_t object_number(const struct stat& status);
  void begin_call(RecordedTask& task);
  void on_new_task(RecordedTask& task);
  static ScopedFd open_mapped(const RecordedTask& task, const std::string& path);
  void on_exec(RecordedTask& task, pid_t former);
  void record_last_writes(const RecordedTask& dead, RecordedTask& survivor);
  void on_gone(RecordedTask& task, const TraceeStop& stop);

  // signals
  bool on_signal(RecordedTask& task, int signal);
  bool emulate(RecordedTask& task, const user_regs_struct& registers);
  void deliver(RecordedTask& task, const siginfo_t& info, schema::SignalCause cause,
               const std::optional<user_regs_struct>& reached);
  void call_off(RecordedTask& task);
  void raise_held(RecordedTask& task);
  void preempt(RecordedTask& task);

  EventData& begin_event(EventKind kind, RecordedTask& task);
  void write_event();
  void flush_now_and_then();
  void add_memory(RecordedTask& task, std::uint64_t address, std::uint64_t length,
                  std::vector<EventData::Write>& list);
  void notice_once(const std::string& text);

  const RecordOptions& options_;
  const Clock::time_point started_;
  // One task runs at a time, and the program finds the same processor at every replay.
  const ProcessorBinding binding_{-1};
  const sigset_t inherited_mask_ = current_mask(); // before the waiter changes it
  TaskWaiter waiter_;
  std::optional<TraceWriter> writer_;
  std::optional<TraceFileStore> files_;
  std::map<pid_t, std::unique_ptr<RecordedTask>> tasks_;
  std::vector<pid_t> order_;
  std::vector<pid_t> reported_;
  std::map<pid_t, int> early_; // stops of tasks that their makers have not told of yet
  pid_t current_ = 0;
  int in_a_row_ = 0;
  bool yield_ = false;
  int in_call_ = 0; // tasks in calls that were begun
  pid_t first_process_ = 0;
  std::optional<int> status_;
  int images_ = 0;
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint32_t> objects_;
  std::set<std::string> noticed_;
  EventData event_;
  std::vector<OutputRange> ranges_;
  std::vector<std::span<const std::byte>> pieces_;
  std::vector<capnp::word> scratch_;
  std::uint64_t killed_ = 0;
  std::chrono::nanoseconds flushed_at_{0}; // since started_
};

// --- events

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

// --- the order of tasks

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
  auto task = std::make_unique<RecordedTask>(pid, pid, Tracee::seize(pid, kTraceOptions));
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

void Recorder::begin_call(RecordedTask& task) {
  if (!task.begun) {
    EventData& event = begin_event(EventKind::kSystemCallBegun, task);
    event.registers = task.entry;
    write_event();
    task.begun = true;
  }
  task.state = State::kInCall;
  ++in_call_;
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

// --- system calls

// The numbers of `int $0x80` mean other calls. (After `syscall` these registers are what the
// instruction makes them; only where they are not the kernel has to be asked.)
void Recorder::require_64_bit(const RecordedTask& task) const {
  constexpr std::uint64_t kSingleStep = 0x100; // TF
  if (task.entry.rcx == task.entry.rip &&
      ((task.entry.r11 ^ task.entry.eflags) & ~kSingleStep) == 0) {
    return;
  }
  __ptrace_syscall_info info{};
  if (::ptrace(static_cast<__ptrace_request>(PTRACE_GET_SYSCALL_INFO), task.tid, sizeof info,
               &info) > 0 &&
      info.arch != AUDIT_ARCH_X86_64) {
    throw Error(ErrorCode::kUnsupportedState,
                "the program makes 32-bit system calls (int $0x80), which cannot be recorded");
  }
}

// Returns true where the task goes on in the middle of its program.
bool Recorder::on_entry(RecordedTask& task) {
  task.entry = task.tracee.registers();
  task.call = SystemCall(task.entry);
  require_64_bit(task);
  task.site = task.entry.rip - kSyscallLength;
  if (!task.held.empty()) {
    call_off(task);
    return false;
  }
  task.called_off.reset();
  task.in_call = true;
  task.begun = false;
  task.forced_result.reset();
  task.output = 0;
  task.written_object.reset();
  task.digests.reset();
  prepare_call(task);
  switch (task.call.number) {
  case SYS_exit:
  case SYS_exit_group:
    begin_call(task);
    break;
  case SYS_sched_yield:
  case SYS_nanosleep:
  case SYS_clock_nanosleep:
    yield_ = true;
    break;
  default:
    break;
  }
  resume_call(task);
  return false;
}

// Has the kernel skip the call: `result` is what it returns.
void Recorder::answer(RecordedTask& task, std::int64_t result, const std::string& what) {
  user_regs_struct registers = task.entry;
  registers.orig_rax = ~std::uint64_t{0};
  task.tracee.set_registers(registers);
  task.forced_result = result;
  if (!what.empty()) {
    notice_once(what);
  }
}

void Recorder::prepare_call(RecordedTask& task) {
  const SystemCall& call = task.call;
  if (call.number >= kX32Bit && call.number < 2 * kX32Bit) {
    answer(task, -ENOSYS,
           "x32 system calls are not supported; the program is told that they do not exist");
    return;
  }
  switch (call.number) {
  case SYS_rseq:
    answer(task, -ENOSYS, "");
    return;
  case SYS_io_uring_setup:
  case SYS_io_uring_enter:
  case SYS_io_uring_register:
    answer(task, -ENOSYS, "io_uring is not supported; the program is told that it does not exist");
    return;
  case SYS_io_setup:
  case SYS_userfaultfd:
  case SYS_perf_event_open:
  case SYS_remap_file_pages:
  case SYS_modify_ldt:
  case SYS_memfd_secret:
  case kMapShadowStack:
    answer(task, -ENOSYS,
           system_call_name(call.number) +
               " is not supported; the program is told that it does not exist");
    return;
  case SYS_ptrace:
    answer(task, -EPERM, "ptrace inside of a recording is not supported; it is refused");
    return;
  case SYS_process_vm_writev:
    answer(task, -EPERM, system_call_name(call.number) + " is not supported; it is refused");
    return;
  case SYS_prctl:
    prepare_prctl(task);
    if (task.forced_result) {
      return;
    }
    break;
  case SYS_clone:
    if ((call[0] & kCloneUntraced) != 0) {
      user_regs_struct registers = task.entry;
      registers.rdi &= ~kCloneUntraced;
      task.tracee.set_registers(registers);
    }
    return;
  case SYS_clone3: {
    std::uint64_t flags = 0;
    if (task.memory.read_some(call[0], std::as_writable_bytes(std::span(&flags, 1))) ==
            sizeof flags &&
        (flags & kCloneUntraced) != 0) {
      flags &= ~kCloneUntraced;
      task.memory.write(call[0], std::as_bytes(std::span(&flags, 1)));
      task.untraced = true;
    }
    return;
  }
  case SYS_madvise:
    if (call[2] == MADV_FREE) { // when the kernel takes the pages is not to be foreseen
      user_regs_struct registers = task.entry;
      registers.rdx = MADV_DONTNEED;
      task.tracee.set_registers(registers);
    }
    return;
  case SYS_mmap:
    if ((call[3] & MAP_ANONYMOUS) == 0) {
      refuse_mapping(task);
    }
    return;
  case SYS_ioctl:
    if (static_cast<std::uint32_t>(call[1]) == kNewUserfaultfd &&
        descriptor_name(task, call[0]) == "/dev/userfaultfd") {
      answer(task, -ENOTTY,
             "userfaultfd is not supported; the program is told that it does not exist");
      return;
    }
    break;
  case SYS_arch_prctl:
    if (call[0] == kSetCpuid) {
      answer(task, -ENODEV, "trapping CPUID is not supported; it is refused");
      return;
    }
    if (call[0] == kEnableTagging || call[0] == kEnableShadowStack ||
        (call[0] >= kMapVdsoX32 && call[0] <= kMapVdso64)) {
      answer(task, -EINVAL,
             call[0] == kEnableTagging ? "tagged addresses are not supported; they are refused"
             : call[0] == kEnableShadowStack ? "shadow stacks are not supported; they are refused"
                                             : "mapping a vDSO is not supported; it is refused");
      return;
    }
    break;
  default:
    break;
  }
  note_output(task);
  if (task.forced_result) {
    return;
  }
  note_object(task);
  if (!outputs_known(call)) {
    task.digests = std::make_unique<PageDigests>(task.tid, task.memory);
  }
}

// The recorder has to read the process, and to see its time-stamp counter: the program gets what it
// would see if it had its way.
void Recorder::prepare_prctl(RecordedTask& task) {
  const SystemCall& call = task.call;
  switch (call[0]) {
  case PR_SET_TSC:
    if (call[1] != PR_TSC_ENABLE && call[1] != PR_TSC_SIGSEGV) {
      break; // the kernel says what is wrong
    }
    task.forgoes_counter = call[1] == PR_TSC_SIGSEGV;
    answer(task, 0, "");
    break;
  case kUserDispatch:
    if (call[1] != 0) { // PR_SYS_DISPATCH_OFF
      answer(task, -EINVAL,
             "dispatching system calls to the program is not supported; it is refused");
    }
    break;
  case PR_SET_DUMPABLE:
    if (call[1] > 1) {
      break;
    }
    *task.dumpable = static_cast<int>(call[1]);
    answer(task, 0, "");
    break;
  case PR_GET_DUMPABLE:
    if (*task.dumpable) {
      answer(task, **task.dumpable, "");
    }
    break;
  default:
    break;
  }
}

// What /proc says that a descriptor is.
std::string Recorder::descriptor_name(const RecordedTask& task, std::uint64_t fd) {
  return try_read_link(proc_path(task.pid, "fd/" + std::to_string(static_cast<int>(fd))))
      .value_or("");
}

// Only files can be kept: what a device, a socket or an object of the kernel shows in memory is
// written without a system call of the program's.
void Recorder::refuse_mapping(RecordedTask& task) {
  const std::string path =
      proc_path(task.pid, "fd/" + std::to_string(static_cast<int>(task.call[4])));
  struct stat status;
  if (::stat(path.c_str(), &status) != 0 || S_ISREG(status.st_mode) || S_ISDIR(status.st_mode) ||
      S_ISFIFO(status.st_mode) || // the kernel refuses it itself
      (S_ISCHR(status.st_mode) && status.st_rdev == makedev(1, 5))) { // /dev/zero
    return;
  }
  answer(task, -ENODEV,
         "mapping a device (" + descriptor_name(task, task.call[4]) +
             ") is not supported; it is refused");
}

// The arguments of clone3(2) as the program had them, in the memory of one who has them too.
void Recorder::put_back_untraced(const RecordedTask& task, RecordedTask& in) {
  std::uint64_t flags = in.memory.read_value<std::uint64_t>(task.call[0]) | kCloneUntraced;
  in.memory.write(task.call[0], std::as_bytes(std::span(&flags, 1)));
}

// Whether the call writes to the recorder's own output.
void Recorder::note_output(RecordedTask& task) {
  std::uint64_t fd = 0;
  switch (task.call.number) {
  case SYS_sendfile:
    fd = task.call[0];
    break;
  case SYS_splice:
  case SYS_copy_file_range:
    fd = task.call[2];
    break;
  case SYS_tee:
    fd = task.call[1];
    break;
  case SYS_vmsplice:
    fd = task.call[0];
    break;
  default:
    if (!writes_descriptor(task.call)) {
      return;
    }
    fd = task.call[0];
    break;
  }
  for (int own : {1, 2}) {
    if (::syscall(SYS_kcmp, task.tid, ::getpid(), KCMP_FILE, fd, own) == 0) {
      if (!writes_descriptor(task.call)) {
        // Data that never passes through the program's memory: have it use write(2).
        answer(task, -EINVAL, "");
        return;
      }
      task.output = own;
      return;
    }
  }
}

// Whether the call changes a file that is mapped shared.
void Recorder::note_object(RecordedTask& task) {
  if (objects_.empty()) {
    return;
  }
  switch (task.call.number) {
  case SYS_write:
  case SYS_pwrite64:
  case SYS_writev:
  case SYS_pwritev:
  case SYS_pwritev2:
  case SYS_ftruncate:
  case SYS_fallocate: {
    struct stat status;
    const std::string path =
        proc_path(task.pid, "fd/" + std::to_string(static_cast<int>(task.call[0])));
    if (::stat(path.c_str(), &status) == 0) {
      auto found = objects_.find({status.st_dev, status.st_ino});
      if (found != objects_.end()) {
        task.written_object = found->second;
      }
    }
    return;
  }
  default:
    return;
  }
}

void Recorder::on_call_end(RecordedTask& task) {
  user_regs_struct registers = task.tracee.registers();
  if (task.forced_result) {
    registers.rax = static_cast<std::uint64_t>(*task.forced_result);
    registers.orig_rax = ~std::uint64_t{0};
    task.tracee.set_registers(registers);
  } else if (task.call.number == SYS_madvise && task.call[2] == MADV_FREE) {
    registers.rdx = MADV_FREE;
    task.tracee.set_registers(registers);
  } else if (task.call.number == SYS_clone && (task.call[0] & kCloneUntraced) != 0) {
    registers.rdi |= kCloneUntraced;
    task.tracee.set_registers(registers);
  }
  if (std::exchange(task.untraced, false)) {
    put_back_untraced(task, task);
  }
  task.boundary = registers;
  const auto result = static_cast<std::int64_t>(registers.rax);
  if (result == 0 &&
      (task.call.number == SYS_prctl
           ? task.call[0] == PR_SET_SECCOMP && task.call[1] == SECCOMP_MODE_STRICT
           : task.call.number == SYS_seccomp && task.call[0] == SECCOMP_SET_MODE_STRICT)) {
    task.forgoes_counter = true; // the kernel takes it away too
  }
  if (task.call.number == SYS_prctl && task.call[0] == PR_GET_TSC && result == 0) {
    const int mode = task.forgoes_counter ? PR_TSC_SIGSEGV : PR_TSC_ENABLE;
    task.memory.write(task.call[1], std::as_bytes(std::span(&mode, 1)));
  }
  EventData& event =
      begin_event(task.begun ? EventKind::kSystemCallFinished : EventKind::kSystemCall, task);
  if (!task.begun) {
    event.registers = task.entry;
  }
  event.result = result;
  user_regs_struct expected = task.entry;
  expected.rax = registers.rax;
  registers.orig_rax = expected.orig_rax;
  if (result == task.call.number && result > 0 && was_filtered(task)) {
    // For a replay the call failed: it must not be carried out, nor its output shown.
    event.result = -ENOSYS;
    registers.orig_rax = ~std::uint64_t{0};
    event.registers_after = registers;
    write_event();
    end_call(task);
    return;
  }
  if (task.call.number != SYS_rt_sigreturn && is_restart(result)) {
    // The call begins anew, unless a handler comes between: that is an event of its own.
    if (result == kRestartBlock && task.call.number != SYS_restart_syscall) {
      task.restarted = task.call;
    }
    registers.rip -= kSyscallLength;
    registers.rax = result == kRestartBlock ? SYS_restart_syscall : task.entry.orig_rax;
  }
  if (std::memcmp(&expected, &registers, sizeof expected) != 0) {
    registers.orig_rax = ~std::uint64_t{0};
    event.registers_after = registers;
  }
  record_outputs(task, result);
  write_event();
  end_call(task);
}

void Recorder::end_call(RecordedTask& task) {
  if (task.begun) {
    --in_call_;
  }
  task.in_call = false;
  task.state = State::kReady;
}

// Whether a filter of seccomp(2) had the kernel skip the call that has just ended and raise SIGSYS
// (SECCOMP_RET_TRAP). The register of results has the call's number then, which is the result of
// other calls too.
bool Recorder::was_filtered(const RecordedTask& task) const {
  constexpr std::uint64_t kBit = std::uint64_t{1} << (SIGSYS - 1);
  const ProcStatus status = ProcStatus::read(task.pid, task.tid);
  return status.seccomp != 0 && (status.pending & kBit) != 0;
}

// The event has changed the mask.
void Recorder::note_mask(RecordedTask& task) {
  task.mask = task.tracee.signal_mask();
  event_.signal_mask = task.mask;
}

void Recorder::record_outputs(RecordedTask& task, std::int64_t result) {
  const SystemCall& call = task.call;
  switch (call.number) {
  case SYS_rt_sigreturn: {
    const std::optional<std::vector<std::byte>> xstate = task.tracee.register_set(kNoteXstate);
    if (xstate) {
      event_.extended_registers = event_.append(*xstate);
    }
    note_mask(task);
    return;
  }
  case SYS_rt_sigprocmask:
    note_mask(task);
    break;
  case SYS_rt_sigaction:
    if (result == 0 && call[0] == SIGSEGV && call[1] != 0) {
      *task.fault_action = task.memory.read_value<FaultAction>(call[1]);
    }
    break;
  case SYS_mmap:
    if (result >= 0 && (call[3] & MAP_ANONYMOUS) == 0) {
      record_mapping(task, static_cast<std::uint64_t>(result));
    }
    return;
  case SYS_shmat:
    if (result >= 0) {
      record_segment(task, static_cast<std::uint64_t>(result));
    }
    return;
  case SYS_set_tid_address:
    task.clear_tid = call[0];
    return;
  case SYS_set_robust_list:
    if (result == 0) {
      task.robust_list = call[0];
    }
    return;
  default:
    break;
  }
  ranges_.clear();
  call_outputs(call.number == SYS_restart_syscall ? task.restarted : call, result, task.memory,
               ranges_);
  for (const OutputRange& range : ranges_) {
    add_memory(task, range.address, range.length, event_.memory);
  }
  if (task.digests) {
    task.digests->visit_changes(task.tid, task.memory,
                                [&](std::uint64_t address, std::span<const std::byte> page) {
                                  event_.memory.push_back({address, event_.append(page)});
                                });
    task.digests.reset();
  }
  if (task.output != 0 && result > 0) {
    ranges_.clear();
    written_bytes(call, result, task.memory, ranges_);
    event_.output = task.output;
    for (const OutputRange& range : ranges_) {
      event_.output_ranges.push_back({range.address, range.length});
    }
  }
  if (task.written_object && result >= 0) {
    record_object_write(task, result);
  }
}

std::uint32_t Recorder::object_number(const struct stat& status) {
  const auto next = static_cast<std::uint32_t>(objects_.size()) + 1;
  return objects_.try_emplace({status.st_dev, status.st_ino}, next).first->second;
}

void Recorder::record_mapping(RecordedTask& task, std::uint64_t address) {
  const SystemCall& call = task.call;
  const std::string link = proc_path(task.pid, "fd/" + std::to_string(static_cast<int>(call[4])));
  ScopedFd file(::open(link.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status;
  if (!file || ::fstat(file.get(), &status) != 0) {
    throw system_error(errno, "cannot open a file that is mapped at " + std::to_string(address))
        .in_file(link);
  }
  if (S_ISCHR(status.st_mode)) {
    return; // /dev/zero is anonymous memory
  }
  EventData::Mapping& mapping = event_.mapping.emplace();
  mapping.offset = call[5];
  mapping.length = (call[1] + 4095) & ~std::uint64_t{4095};
  mapping.path = strip(try_read_link(link).value_or(""));
  if ((call[3] & MAP_TYPE) == MAP_PRIVATE) {
    mapping.file = files_->keep(file.get(), mapping.path).path;
  } else {
    mapping.object = object_number(status);
    record_object(*mapping.object, file.get(), mapping.offset, mapping.length);
  }
}

// What an object holds in a range.
void Recorder::record_object(std::uint32_t number, int fd, std::uint64_t offset,
                             std::uint64_t length) {
  struct stat status;
  if (::fstat(fd, &status) != 0) {
    throw system_error(errno, "cannot examine a mapped file");
  }
  const auto size = static_cast<std::uint64_t>(status.st_size);
  const std::uint64_t end = std::min(offset + length, size);
  ByteRange range;
  const std::uint64_t wanted = end > offset ? end - offset : 0;
  const std::span<std::byte> room = event_.append(wanted, range);
  std::size_t done = 0;
  while (done < wanted) {
    const ssize_t n =
        ::pread(fd, room.data() + done, wanted - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      break;
    }
    done += static_cast<std::size_t>(n);
  }
  event_.shrink(range, wanted - done);
  event_.shared.push_back({number, size, offset, range});
}

void Recorder::record_object_write(RecordedTask& task, std::int64_t result) {
  const SystemCall& call = task.call;
  const std::string fd = std::to_string(static_cast<int>(call[0]));
  ScopedFd file(::open(proc_path(task.pid, "fd/" + fd).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) {
    throw system_error(errno, "cannot read a file that is mapped shared")
        .in_file(proc_path(task.pid, "fd/" + fd));
  }
  std::uint64_t offset = 0;
  auto length = static_cast<std::uint64_t>(result);
  switch (call.number) {
  case SYS_pwrite64:
  case SYS_pwritev:
    offset = call[3];
    break;
  case SYS_ftruncate:
  case SYS_fallocate:
    length = ~std::uint64_t{0} >> 1; // whatever it did
    break;
  default: {
    const std::optional<std::string> text = try_read_file(proc_path(task.pid, "fdinfo/" + fd));
    std::string_view rest = text ? std::string_view(*text) : std::string_view();
    std::string_view line = cut_field(rest, '\n');
    cut_word(line);
    offset = parse_number(cut_word(line), 10, "file position") - length;
    break;
  }
  }
  record_object(*task.written_object, file.get(), offset, length);
}

void Recorder::record_segment(RecordedTask& task, std::uint64_t address) {
  for (const ProcMapping& found : read_mappings(task.tid)) {
    if (found.start == address) {
      struct stat status {};
      status.st_dev = found.device;
      status.st_ino = found.inode;
      EventData::Mapping& mapping = event_.mapping.emplace();
      mapping.object = object_number(status);
      mapping.length = found.length();
      mapping.path = strip(found.name);
      ByteRange range;
      const std::span<std::byte> room = event_.append(found.length(), range);
      task.memory.read(address, room);
      event_.shared.push_back({*mapping.object, found.length(), 0, range});
      return;
    }
  }
}

void Recorder::on_new_task(RecordedTask& task) {
  const auto tid = static_cast<pid_t>(task.tracee.event_message());
  CloneArguments arguments;
  switch (task.call.number) {
  case SYS_clone3:
    arguments = task.memory.read_value<CloneArguments>(task.call[0]);
    break;
  case SYS_clone:
    arguments.flags = task.call[0] & ~std::uint64_t{0xff};
    arguments.parent_tid = task.call[2];
    arguments.pidfd = task.call[2];
    arguments.child_tid = task.call[3];
    break;
  case SYS_vfork:
    arguments.flags = CLONE_VM | CLONE_VFORK;
    break;
  default:
    break;
  }
  const bool thread = (arguments.flags & CLONE_THREAD) != 0;
  auto made =
      std::make_unique<RecordedTask>(tid, thread ? task.pid : tid, Tracee::adopt(tid, false));
  RecordedTask& child = *made;
  child.site = task.site;
  child.mask = task.mask;
  child.forgoes_counter = task.forgoes_counter;
  child.dumpable = (arguments.flags & CLONE_VM) != 0
                       ? task.dumpable
                       : std::make_shared<std::optional<int>>(*task.dumpable);
  child.fault_action = (arguments.flags & CLONE_SIGHAND) != 0
                           ? task.fault_action
                           : std::make_shared<FaultAction>(*task.fault_action);
  if ((arguments.flags & kCloneClearHandlers) != 0 && !ignores(*child.fault_action)) {
    *child.fault_action = {};
  }
  if (auto early = early_.find(tid); early != early_.end()) {
    child.tracee.take_report(early->second);
    early_.erase(early);
  } else {
    child.tracee.wait();
  }
  tasks_.emplace(tid, std::move(made));
  order_.push_back(tid);
  EventData& event = begin_event(EventKind::kNewTask, task);
  if (!task.begun) {
    event.registers = task.entry;
  }
  event.child = tid;
  event.child_process = child.pid;
  event.flags = arguments.flags;
  const bool alive = !child.tracee.last_stop().gone();
  if (task.untraced) {
    task.untraced = false;
    put_back_untraced(task, task);
    if (alive && (arguments.flags & CLONE_VM) == 0) {
      put_back_untraced(task, child);
    }
  }
  if (alive) {
    event.child_registers = child.tracee.registers();
    event.child_registers.orig_rax = ~std::uint64_t{0};
    child.boundary = child.tracee.registers();
    if ((arguments.flags & CLONE_CHILD_SETTID) != 0) {
      add_memory(child, arguments.child_tid, sizeof(pid_t), event.child_memory);
    }
  }
  if ((arguments.flags & CLONE_PARENT_SETTID) != 0) {
    add_memory(task, arguments.parent_tid, sizeof(pid_t), event.memory);
  }
  if ((arguments.flags & CLONE_PIDFD) != 0) {
    add_memory(task, arguments.pidfd, sizeof(int), event.memory);
  }
  if ((arguments.flags & CLONE_CHILD_CLEARTID) != 0) {
    child.clear_tid = arguments.child_tid;
  }
  write_event();
  task.begun = true;
  if (!alive) { // killed at birth
    child.reported = true;
    reported_.push_back(tid);
  }
  if (task.state != State::kInCall) {
    task.state = State::kInCall;
    ++in_call_;
  }
  task.tracee.resume(PTRACE_SYSCALL);
  if ((arguments.flags & CLONE_VFORK) == 0) {
    if (std::optional<TraceeStop> stop = await_call(task)) {
      handle(task, *stop);
    }
  }
}

// Opens a file that the task has mapped. In another mount namespace than ours another file may lie
// under its name, so that comes last.
ScopedFd Recorder::open_mapped(const RecordedTask& task, const std::string& path) {
  ScopedFd file;
  for (const ProcMapping& mapping : read_mappings(task.tid)) {
    if (mapping.name == path) {
      char name[64];
      std::snprintf(name, sizeof name, "map_files/%llx-%llx",
                    static_cast<unsigned long long>(mapping.start),
                    static_cast<unsigned long long>(mapping.end));
      file.reset(::open(proc_path(task.pid, name).c_str(), O_RDONLY | O_CLOEXEC));
      break;
    }
  }
  if (!file && try_read_link(proc_path(task.pid, "ns/mnt")) != try_read_link("/proc/self/ns/mnt")) {
    file.reset(::open((proc_path(task.pid, "root") + path).c_str(), O_RDONLY | O_CLOEXEC));
  } else if (!file) {
    file.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  }
  return file;
}

void Recorder::on_exec(RecordedTask& task, pid_t former) {
  // All other threads of the process are gone, and the one that called has the process's id now.
  RecordedTask* caller = &task;
  if (former != task.tid) {
    if (RecordedTask* other = find(former)) {
      caller = other;
    }
  }
  const bool begun = caller->begun;
  const bool counted = caller->state == State::kInCall;
  const user_regs_struct entry = caller->entry;
  if (caller != &task) {
    task.held = std::move(caller->held);
    task.forgoes_counter = caller->forgoes_counter;
    if (task.state == State::kInCall) {
      --in_call_; // the leader's own call ended with it
    }
    caller->tracee.release();
    erase(former);
  }
  std::vector<pid_t> gone;
  for (const auto& [tid, other] : tasks_) {
    if (other->pid == task.pid && tid != task.tid) {
      gone.push_back(tid);
    }
  }
  for (pid_t tid : gone) {
    if (find(tid)->state == State::kInCall) {
      --in_call_;
    }
    find(tid)->tracee.release();
    erase(tid);
  }
  if (counted) {
    --in_call_;
  }
  task.tracee.resume(PTRACE_SYSCALL);
  const TraceeStop stop = task.tracee.wait();
  if (stop.gone()) {
    on_gone(task, stop);
    return;
  }
  task.in_call = false;
  task.begun = false;
  task.reported = false;
  task.memory = RemoteMemory(task.tid);
  task.clear_tid = 0;
  task.robust_list = 0;
  task.site = 0;
  task.dumpable = std::make_shared<std::optional<int>>();
  task.mask = task.tracee.signal_mask();
  const bool ignored = (ProcStatus::read(task.pid, task.tid).ignored & kFaultBit) != 0;
  task.fault_action = std::make_shared<FaultAction>(FaultAction{ignored ? 1u : 0u});
  const SuspendedFilters suspended(task);
  try {
    prepare_program(task.tracee);
  } catch (const Error& error) {
    if (!suspended.needed() || error.code() == ErrorCode::kUnsupportedState) {
      throw;
    }
    throw Error(ErrorCode::kUnsupportedState,
                "a filter of seccomp(2) keeps the recorder from preparing a program (" +
                    std::string(error.what()) + ")")
        .with_hint("with CAP_SYS_ADMIN the recorder suspends the filter meanwhile");
  }
  const std::string image = "images/" + std::to_string(images_++) + ".pcp";
  write_image(task.tracee, options_.directory + "/" + image, [&](const std::string& path, pid_t) {
    const ScopedFd file = open_mapped(task, path);
    if (!file) {
      throw system_error(errno, "cannot open a file that the program has mapped").in_file(path);
    }
    return files_->keep(file.get(), path).path;
  });
  EventData& event = begin_event(EventKind::kExec, task);
  if (!begun) {
    event.registers = entry;
  }
  event.image = image;
  event.executable = try_read_link(proc_path(task.pid, "exe")).value_or("");
  if (std::optional<std::string> text = try_read_file(proc_path(task.pid, "cmdline"))) {
    std::string_view rest = *text;
    while (!rest.empty()) {
      event.arguments.emplace_back(cut_field(rest, '\0'));
    }
  }
  event.former_task = former != task.tid ? former : 0;
  write_event();
  task.boundary = task.tracee.registers();
  task.state = State::kReady;
}

// What the kernel did to the memory of a dead task, as `survivor` sees it: the word of
// set_tid_address(2) and the futexes of its robust list.
void Recorder::record_last_writes(const RecordedTask& dead, RecordedTask& survivor) {
  if (dead.clear_tid != 0) {
    add_memory(survivor, dead.clear_tid, sizeof(pid_t), event_.memory);
  }
  if (dead.robust_list == 0) {
    return;
  }
  struct Head { // struct robust_list_head of linux/futex.h
    std::uint64_t first = 0;
    std::int64_t offset = 0;
    std::uint64_t pending = 0;
  } head;
  const auto bytes = std::as_writable_bytes(std::span(&head, 1));
  if (survivor.memory.read_some(dead.robust_list, bytes) != bytes.size()) {
    return;
  }
  constexpr int kMaxEntries = 2048; // ROBUST_LIST_LIMIT
  constexpr std::uint64_t kPriorityInheritance = 1;
  std::uint64_t at = head.first & ~kPriorityInheritance;
  for (int i = 0; i < kMaxEntries && at != 0 && at != dead.robust_list; ++i) {
    add_memory(survivor, at + static_cast<std::uint64_t>(head.offset), sizeof(pid_t),
               event_.memory);
    std::uint64_t next = 0;
    survivor.memory.read_some(at, std::as_writable_bytes(std::span(&next, 1)));
    at = next & ~kPriorityInheritance;
  }
}

void Recorder::on_gone(RecordedTask& task, const TraceeStop& stop) {
  if (task.in_call && !task.begun) {
    // It ran to the call, in which it was killed, by a filter of seccomp(2) for one: others may
    // have seen what it did before.
    begin_event(EventKind::kSystemCallBegun, task).registers = task.entry;
    write_event();
  }
  EventData& event = begin_event(EventKind::kExit, task);
  event.registers = task.fatal_fault;
  event.status = stop.status();
  // What the kernel wrote on behalf of the dead is seen by those who shared its memory.
  for (auto& [tid, other] : tasks_) {
    if (other.get() != &task && other->pid == task.pid && other->tracee.attached()) {
      try {
        record_last_writes(task, *other);
      } catch (const Error&) {
        event.memory.clear(); // the whole process ends
      }
      break;
    }
  }
  write_event();
  if (task.state == State::kInCall) {
    --in_call_;
  }
  if (task.tid == first_process_) {
    status_ = stop.status();
  }
  erase(task.tid);
}

// --- signals

// Returns true where the task goes on in the middle of its program.
bool Recorder::on_signal(RecordedTask& task, int signal) {
  const user_regs_struct registers = task.tracee.registers();
  siginfo_t info = task.tracee.signal_info();
  if (signal == SIGSEGV && info.si_code == SI_KERNEL && emulate(task, registers)) {
    return false;
  }
  const bool boundary = std::memcmp(&registers, &task.boundary, sizeof registers) == 0;
  const bool synchronous = is_synchronous(info);
  const ProcStatus status = ProcStatus::read(task.pid, task.tid);
  const bool caught = (status.caught >> (signal - 1) & 1) != 0;
  if (!caught) {
    if (synchronous) {
      task.fatal_fault = registers;
    }
    task.resume_signal = signal;
    if (boundary) {
      task.state = State::kReady;
      return false;
    }
    task.state = State::kRunning;
    task.tracee.resume(PTRACE_SYSCALL, std::exchange(task.resume_signal, 0));
    return true;
  }
  if (synchronous) {
    deliver(task, info, schema::SignalCause::FAULT, registers);
    return false;
  }
  if (boundary) {
    if (!task.held.empty() && task.held.front().si_signo == signal) {
      info = task.held.front();
      task.held.pop_front();
      task.tracee.set_signal_info(info);
    }
    deliver(task, info, schema::SignalCause::ASYNCHRONOUS,
            std::exchange(task.called_off, std::nullopt));
    return false;
  }
  task.held.push_back(info);
  task.state = State::kRunning;
  task.tracee.resume(PTRACE_SYSCALL);
  return true;
}

// Executes an instruction that the kernel does not let the task execute.
bool Recorder::emulate(RecordedTask& task, const user_regs_struct& registers) {
  std::array<std::byte, 3> code{};
  if (task.forgoes_counter || task.memory.read_some(registers.rip, code) < 2 ||
      code[0] != std::byte{0x0f}) {
    return false;
  }
  user_regs_struct after = registers;
  schema::TrappedInstruction instruction;
  unsigned auxiliary = 0;
  const std::uint64_t time = __rdtscp(&auxiliary);
  if (code[1] == std::byte{0x31}) {
    instruction = schema::TrappedInstruction::RDTSC;
    after.rip += 2;
  } else if (code[1] == std::byte{0x01} && code[2] == std::byte{0xf9}) {
    instruction = schema::TrappedInstruction::RDTSCP;
    after.rip += 3;
    after.rcx = auxiliary;
  } else {
    return false;
  }
  after.rax = time & 0xffffffff;
  after.rdx = time >> 32;
  task.tracee.set_registers(after);
  EventData& event = begin_event(EventKind::kTrap, task);
  event.instruction = instruction;
  event.registers = registers;
  event.registers_after = after;
  if ((task.mask & kFaultBit) != 0 || ignores(*task.fault_action)) {
    // The fault has unblocked its signal and reset its action.
    task.tracee.set_signal_mask(task.mask);
    const SuspendedFilters suspended(task);
    if (task.site != 0) {
      set_fault_action(task.tracee, task.memory, task.site, *task.fault_action);
    } else {
      SyscallSite site(task.tracee, read_mappings(task.tid));
      set_fault_action(task.tracee, task.memory, site.address(), *task.fault_action);
    }
    event.signal_mask = task.mask; // says so to a replay
  }
  write_event();
  task.boundary = after;
  task.state = State::kReady;
  return true;
}

// Lets the task enter its handler.
void Recorder::deliver(RecordedTask& task, const siginfo_t& info, schema::SignalCause cause,
                       const std::optional<user_regs_struct>& reached) {
  task.tracee.resume(PTRACE_SINGLESTEP, info.si_signo);
  const TraceeStop stop = task.tracee.wait();
  if (stop.gone()) {
    task.fatal_fault = reached;
    on_gone(task, stop);
    return;
  }
  if (stop.signal() != SIGTRAP) {
    // The frame could not be written, or something else comes first.
    task.fatal_fault = reached;
    task.state = State::kReady;
    task.reported = true;
    reported_.push_back(task.tid);
    return;
  }
  const user_regs_struct registers = task.tracee.registers();
  EventData& event = begin_event(EventKind::kSignal, task);
  event.registers = reached;
  event.registers_after = registers;
  event.registers_after->orig_rax = ~std::uint64_t{0};
  event.cause = cause;
  event.signal_info = event.append(std::as_bytes(std::span(&info, 1)));
  note_mask(task);
  if (info.si_signo == SIGSEGV && ((*task.fault_action)[1] & kResetHandler) != 0) {
    (*task.fault_action)[0] = 0; // SIG_DFL
  }
  if (const std::optional<std::vector<std::byte>> xstate = task.tracee.register_set(kNoteXstate)) {
    event.extended_registers = event.append(*xstate);
  }
  std::uint64_t end = registers.rsp + kFrameWithoutFpu;
  const auto fpu = task.memory.read_value<std::uint64_t>(registers.rsp + kFramePointerOffset);
  if (fpu != 0) {
    std::array<std::uint32_t, 2> magic{};
    task.memory.read(fpu + kFpuMagicOffset, std::as_writable_bytes(std::span(magic)));
    end = fpu + (magic[0] == kFpuMagic ? magic[1] + kFpuTrailer : kFpuLegacySize);
  }
  add_memory(task, registers.rsp, end - registers.rsp, event.memory);
  write_event();
  task.boundary = registers;
  task.state = State::kReady;
}

// Takes the task back from the entry of a system call to before it, so that a signal is delivered
// there.
void Recorder::call_off(RecordedTask& task) {
  user_regs_struct registers = task.entry;
  registers.orig_rax = ~std::uint64_t{0};
  task.tracee.set_registers(registers);
  task.tracee.resume(PTRACE_SYSCALL);
  const TraceeStop stop = task.tracee.wait();
  if (stop.gone()) {
    on_gone(task, stop);
    return;
  }
  registers.rip -= kSyscallLength;
  registers.rax = task.entry.orig_rax;
  task.tracee.set_registers(registers);
  task.boundary = task.tracee.registers();
  task.called_off = task.entry;
  task.state = State::kReady;
}

// Sends the first held signal again: the task meets it before it executes anything.
void Recorder::raise_held(RecordedTask& task) {
  ::syscall(SYS_tgkill, task.pid, task.tid, task.held.front().si_signo);
}

// The pages are as much as the program has in use: they go to the trace without being gathered.
void Recorder::preempt(RecordedTask& task) {
  const user_regs_struct registers = task.tracee.registers();
  EventData& event = begin_event(EventKind::kPreemption, task);
  event.registers_after = registers;
  event.registers_after->orig_rax = ~std::uint64_t{0};
  if (const std::optional<std::vector<std::byte>> xstate = task.tracee.register_set(kNoteXstate)) {
    event.extended_registers = event.append(*xstate);
  }
  std::vector<EventData::Write>& list = event.memory;
  std::uint64_t total = 0;
  auto note = [&](std::uint64_t address, std::span<const std::byte> bytes) {
    total += bytes.size();
    if (!list.empty() && list.back().address + list.back().data.length == address &&
        list.back().data.length < kMaxPreemptedRange) {
      list.back().data.length += bytes.size();
    } else {
      list.push_back({address, {0, bytes.size()}});
    }
  };
  if (task.slice) {
    task.slice->visit_changes(task.tid, task.memory, note);
  } else {
    visit_writable_pages(task.tid, task.memory, note);
  }
  capnp::MallocMessageBuilder message;
  schema::Event::Builder root = message.initRoot<schema::Event>();
  event_.encode(root);
  writer_->begin(root.asReader(), total);
  std::vector<std::byte> buffer;
  for (const EventData::Write& write : list) {
    buffer.assign(write.data.length, std::byte{0});
    try {
      task.memory.read(write.address, buffer);
    } catch (const Error&) {
      // It was killed meanwhile, and its memory with it.
    }
    writer_->add_data(buffer);
  }
  flush_now_and_then();
  task.boundary = registers;
  yield_ = true;
}

} // namespace

} // namespace rrpcp::replay

namespace rrpcp {

RecordResult record_program(const RecordOptions& options) {
  return replay::Recorder(options).run();
}

} // namespace rrpcp
