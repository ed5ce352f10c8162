#include "rrpcp/process/restore.h"

#include "container/kj_errors.h"
#include "process/carried.h"
#include "process/proc_status.h"
#include "process/restore/descriptor_limit.h"
#include "process/restore/process_builder.h"
#include "process/restore/state_checks.h"
#include "process/restore/time_namespace.h"
#include "process/settled_stop.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <optional>
#include <sys/file.h>
#include <sys/ptrace.h>
#include <time.h>
#include <utility>

namespace rrpcp {

using process::restore::BuildOptions;
using process::restore::BuiltProcess;
using process::restore::BuiltTask;
using process::restore::check_machine;
using process::restore::check_rules;
using process::restore::TimeNamespace;

namespace {

// linux/errno.h: what an interrupted system call leaves in rax for the kernel's own use.
constexpr std::int64_t kRestartNoHandler = -514; // ERESTARTNOHAND
constexpr std::int64_t kRestartBlock = -516;     // ERESTART_RESTARTBLOCK

void check_kind(const CheckpointReader& reader) {
  const schema::State::Reader state = reader.state();
  if (state.getInspectOnly()) {
    throw Error(
        ErrorCode::kUnsupportedState,
        "the checkpoint is for looking at only: it was made from a core file, or captured so")
        .in_file(reader.name());
  }
  if (state.hasTrace() || state.hasSession()) {
    throw Error(ErrorCode::kUnsupportedState, "the checkpoint is of a replay (" +
                                                  std::string(state.getProducer().cStr()) +
                                                  "), not of a live process")
        .in_file(reader.name())
        .with_hint("let the replayer go on from it");
  }
  if (state.getProcesses().size() != 1) {
    throw Error(ErrorCode::kUnsupportedState, "the checkpoint has " +
                                                  std::to_string(state.getProcesses().size()) +
                                                  " processes, and one at a time can be restored")
        .in_file(reader.name());
  }
}

// Lets a thread go. One that ended meanwhile, because another one that was let go before has ended
// the process, is reaped: the process's end is reported only when all its threads are. The main
// thread is left to who waits for the process.
void detach_or_reap(process::Tracee& thread, pid_t process) {
  try {
    thread.detach();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kProcessGone) {
      throw;
    }
    try {
      while (thread.tid() != process && thread.attached() && !thread.wait().gone()) {
      }
    } catch (const Error&) {
      // Reaped already.
    }
    thread.release();
  }
}

// A thread that its tracer lets go of in a group stop is awake for a moment, in which it executes
// nothing, before it stops again.
void wait_until_stopped(pid_t process, pid_t tid) {
  constexpr int kMostNaps = 10'000;
  for (int i = 0; i < kMostNaps; ++i) {
    const std::optional<process::ProcStatus> status = process::ProcStatus::try_read(process, tid);
    if (!status || status->state != 'R') {
      return;
    }
    const timespec nap{0, 100'000};
    ::nanosleep(&nap, nullptr);
  }
}

// Two restores of one file at once would take from each other what the process needs (ids, keys,
// locks), so that in the end both fail: the second one waits for the first, and sees then what is
// taken. Empty where the file system has no locks, or the wait is too long.
ScopedFd wait_for_others(const CheckpointReader& reader) {
  constexpr int kMostNaps = 600;
  if (reader.fd() < 0) {
    return {};
  }
  // A lock of its own: the memory that is mapped from the file keeps the reader's open for long.
  const std::string path = "/proc/self/fd/" + std::to_string(reader.fd());
  ScopedFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  for (int i = 0; file && ::flock(file.get(), LOCK_EX | LOCK_NB) != 0; ++i) {
    if (errno != EWOULDBLOCK || i == kMostNaps) {
      return {};
    }
    const timespec nap{0, 100'000'000};
    ::nanosleep(&nap, nullptr);
  }
  return file;
}

} // namespace

struct RestoredProcess::Impl {
  explicit Impl(BuiltProcess built) : process(std::move(built)), pid(process.pid()) {}

  // Ends after the process, where that is killed.
  std::unique_ptr<process::restore::SegmentKeeper> segments;
  BuiltProcess process;
  pid_t pid;
  std::vector<pid_t> tids;
  std::vector<std::string> warnings;
  std::uint64_t nanoseconds = 0;
  bool was_stopped = false; // when it was captured

  // The kernel goes on with an interrupted call by what it noted in the old process
  // (restart_syscall(2)); here that note does not exist. Such a call is entered again instead.
  void prepare_restarts() {
    process::RemoteMemory memory(pid);
    for (BuiltTask& task : process.tasks()) {
      process::name_continued_call(task.tracee, memory); // checkpoints of 1.0 may lack the number
      user_regs_struct registers = task.tracee.registers();
      if (static_cast<std::int64_t>(registers.orig_rax) >= 0 &&
          static_cast<std::int64_t>(registers.rax) == kRestartBlock) {
        registers.rax = static_cast<std::uint64_t>(kRestartNoHandler);
        task.tracee.set_registers(registers);
      }
    }
  }

  void require_attached() const {
    if (process.pid() == 0) {
      throw Error(ErrorCode::kInvalidArgument, "the process was let go or killed already");
    }
  }

  // Brings the leader into a group stop, of which the other threads become part once they are
  // detached: no thread executes an instruction.
  void stop_group() {
    process::Tracee& leader = process.tasks().front().tracee;
    const std::uint64_t mask = leader.signal_mask();
    leader.set_signal_mask(~std::uint64_t{0}); // other pending signals stay where they are
    if (::kill(pid, SIGSTOP) != 0) {
      throw system_error(errno, "cannot stop the process");
    }
    leader.resume(PTRACE_CONT);
    for (;;) {
      const process::TraceeStop stop = leader.wait_stop();
      if (stop.group_stop()) {
        break;
      }
      leader.resume(PTRACE_CONT, stop.signal());
    }
    leader.set_signal_mask(mask);
  }
};

RestoredProcess::RestoredProcess(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RestoredProcess::RestoredProcess(RestoredProcess&&) noexcept = default;
RestoredProcess& RestoredProcess::operator=(RestoredProcess&&) noexcept = default;
RestoredProcess::~RestoredProcess() = default;

pid_t RestoredProcess::pid() const {
  return impl_->pid;
}

const std::vector<pid_t>& RestoredProcess::tids() const {
  return impl_->tids;
}

const std::vector<std::string>& RestoredProcess::warnings() const {
  return impl_->warnings;
}

bool RestoredProcess::was_stopped() const {
  return impl_->was_stopped;
}

std::uint64_t RestoredProcess::nanoseconds() const {
  return impl_->nanoseconds;
}

void RestoredProcess::detach_running() {
  impl_->require_attached();
  impl_->prepare_restarts();
  for (BuiltTask& task : impl_->process.release()) {
    detach_or_reap(task.tracee, impl_->pid);
  }
  impl_->segments->keep();
}

void RestoredProcess::detach_stopped() {
  impl_->require_attached();
  impl_->prepare_restarts();
  impl_->stop_group();
  for (BuiltTask& task : impl_->process.release()) {
    task.tracee.detach();
  }
  impl_->segments->keep();
  for (const pid_t tid : impl_->tids) {
    wait_until_stopped(impl_->pid, tid);
  }
}

void RestoredProcess::kill() {
  impl_->process.kill();
}

RestoredProcess restore_process(const CheckpointReader& reader, const RestoreOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  return with_kj_errors(reader.name(), [&] {
    const ScopedFd exclusive = wait_for_others(reader);
    check_machine(reader);
    check_kind(reader);
    check_rules(reader);
    const process::restore::RaisedDescriptorLimit raised;
    process::restore::Obstacles obstacles(options.allow, reader.name());
    obstacles.add(process::judge_state(reader.state()));
    for (schema::Omission::Reader omission : reader.state().getOmissions()) {
      const std::string what = omission.getWhat();
      const std::vector<std::string>& told = obstacles.warnings();
      if (std::find(told.begin(), told.end(), what) == told.end()) {
        obstacles.warn("left out when it was captured: " + what);
      }
    }
    process::restore::MemoryObjects objects(reader, options, obstacles);
    process::restore::OpenFiles files(reader, objects, options, obstacles);
    process::restore::ProcessPlan plan(reader, 0, objects, &files, options, {},
                                       options.outlives_restorer, obstacles);
    obstacles.throw_if_any();
    objects.acquire(obstacles);
    files.acquire(objects, obstacles);
    obstacles.throw_if_any();
    const TimeNamespace time(reader.state(), obstacles);

    BuildOptions build_options;
    build_options.threads = options.threads;
    std::vector<std::string> warnings = obstacles.warnings();
    std::optional<BuiltProcess> process;
    try {
      process = process::restore::build_process(plan, objects.contents(), reader, build_options);
    } catch (const Error& error) {
      const bool about_ids =
          error.code() == ErrorCode::kIdInUse || error.code() == ErrorCode::kPermission;
      if (!about_ids || !obstacles.allowed("new-ids")) {
        throw error.file().empty() ? error.in_file(reader.name()) : error;
      }
    }
    if (!process) {
      plan.give_up_ids();
      process = process::restore::build_process(plan, objects.contents(), reader, build_options);
      warnings.push_back("the process has the id " + std::to_string(process->pid()) +
                         " instead of " + std::to_string(plan.process().getPid()));
    }
    const std::vector<std::string> unset = objects.finish();
    warnings.insert(warnings.end(), unset.begin(), unset.end());
    auto impl = std::make_unique<RestoredProcess::Impl>(std::move(*process));
    impl->segments = objects.keep_later();
    impl->warnings = std::move(warnings);
    impl->was_stopped = reader.state().getProcesses()[0].getStopSignal() != 0;
    for (std::string& warning : impl->process.warnings()) {
      impl->warnings.push_back(std::move(warning));
    }
    for (BuiltTask& task : impl->process.tasks()) {
      impl->tids.push_back(task.tracee.tid());
    }
    impl->nanoseconds =
        static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                       std::chrono::steady_clock::now() - start)
                                       .count());
    return RestoredProcess(std::move(impl));
  });
}

} // namespace rrpcp
