#include "process/capture/snapshot.h"

#include "process/proc_file.h"
#include "process/proc_stat.h"
#include "process/proc_status.h"
#include "process/proc_tasks.h"
#include "process/settled_stop.h"
#include "rrpcp/error.h"

#include <chrono>
#include <csignal>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <utility>

namespace rrpcp::process::capture {

namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kReapPatience = std::chrono::seconds(2);

} // namespace

namespace {

// The new process that `calls` have made, stopped, which the kernel kills if we die. Until then it
// ends as soon as it runs, because it stands before the way out of the gate.
std::optional<Tracee> take_new_process(RemoteCalls& calls, std::uintptr_t options) {
  std::optional<pid_t> tid = calls.take_new_thread();
  if (!tid) {
    return std::nullopt;
  }
  Tracee process = Tracee::adopt(*tid, false);
  process.wait_stop();
  process.set_options(options | PTRACE_O_EXITKILL);
  return process;
}

void kill_and_reap(Tracee& process, pid_t pid) {
  ::kill(pid, SIGKILL);
  try {
    while (process.attached() && !process.wait().gone()) {
    }
  } catch (const Error&) {
    process.release(); // somebody else has killed it
  }
}

// A copy that is no child of the thread's process: by way of a child that makes it and ends.
std::optional<Tracee> copy_by_child(RemoteCalls& calls, ReturnGate& gate, std::uintptr_t options,
                                    int& errno_value) {
  const std::int64_t child = calls.clone_child(CLONE_FILES);
  if (child < 0) {
    errno_value = static_cast<int>(-child);
    return std::nullopt;
  }
  std::optional<Tracee> maker = take_new_process(calls, options | PTRACE_O_TRACECLONE);
  std::optional<Tracee> copy;
  if (maker) {
    const pid_t pid = maker->tid();
    try {
      ReturnGate its_gate = gate.of_copy(pid);
      RemoteCalls its_calls(*maker, its_gate);
      // Both have the same memory from now on; it is the copy's own when its maker has ended.
      const std::int64_t result = its_calls.call(SYS_clone, CLONE_VM | CLONE_FILES, 0, 0, 0, 0);
      copy = take_new_process(its_calls, options);
      errno_value = static_cast<int>(-result);
      its_gate.abandon();
    } catch (const Error&) {
      kill_and_reap(*maker, pid);
      throw;
    }
    kill_and_reap(*maker, pid);
  }
  calls.wait_for_child(child);
  return copy;
}

} // namespace

std::optional<Snapshot> Snapshot::make(Tracee& thread, const CallSite& site, std::uintptr_t options,
                                       bool adopts_orphans, const std::vector<pid_t>& left_behind,
                                       int& errno_value) {
  thread.set_options(options | PTRACE_O_TRACECLONE);
  std::optional<Snapshot> snapshot;
  {
    RemoteCalls calls = site.begin(thread);
    for (pid_t zombie : left_behind) {
      calls.call(SYS_wait4, static_cast<std::uint64_t>(zombie), 0, __WALL | WNOHANG, 0);
    }
    if (site.way_back != nullptr && !adopts_orphans) {
      if (std::optional<Tracee> copy = copy_by_child(calls, *site.way_back, options, errno_value)) {
        snapshot = Snapshot(std::move(*copy), 0);
      }
    } else {
      const std::int64_t result = calls.call(SYS_clone, CLONE_FILES, 0, 0, 0, 0);
      if (std::optional<Tracee> copy = take_new_process(calls, options)) {
        snapshot = Snapshot(std::move(*copy), static_cast<pid_t>(result));
      } else {
        errno_value = static_cast<int>(-result);
      }
    }
    calls.finish();
  }
  thread.set_options(options);
  return snapshot;
}

Snapshot::Snapshot(Snapshot&& other) noexcept
    : thread_(std::move(other.thread_)), pid_(std::exchange(other.pid_, 0)), child_(other.child_) {}

Snapshot& Snapshot::operator=(Snapshot&& other) noexcept {
  if (this != &other) {
    kill();
    thread_ = std::move(other.thread_);
    pid_ = std::exchange(other.pid_, 0);
    child_ = other.child_;
  }
  return *this;
}

Snapshot::~Snapshot() {
  kill();
}

void Snapshot::kill() {
  if (pid_ == 0) {
    return;
  }
  kill_and_reap(thread_, std::exchange(pid_, 0));
}

namespace {

// Has `thread`, which is in an event stop, wait for a child. Returns whether there was one.
bool reap_by(Tracee& thread, pid_t pid, pid_t child) {
  const std::vector<ProcMapping> mappings = read_mappings(pid);
  const std::optional<ReturnCode> code = ReturnCode::find(pid, mappings);
  std::optional<ReturnGate> way_back;
  // Only of the main thread it is known where its stack ends now.
  if (code && thread.tid() == pid) {
    way_back = ReturnGate::open(pid, mappings, *code, thread.registers().rsp);
  }
  std::optional<CallGate> gate;
  if (!way_back) {
    gate = CallGate::open(pid, mappings);
  }
  CallSite site{way_back ? &*way_back : nullptr, gate ? &*gate : nullptr, {}};
  if (!gate && !way_back) {
    site.instruction = find_syscall_instruction(pid, mappings);
  }
  if ((way_back && recover_thread(thread, *way_back)) || (gate && gate->recover(thread))) {
    return false; // the memory is needed no more now: next time
  }
  RemoteCalls calls = site.begin(thread);
  const bool reaped =
      calls.call(SYS_wait4, static_cast<std::uint64_t>(child), 0, __WALL | WNOHANG, 0) == child;
  calls.finish();
  return reaped;
}

} // namespace

bool reap_snapshot(pid_t pid, pid_t snapshot, std::uintptr_t options, std::uint64_t& stopped) {
  const Clock::time_point deadline = Clock::now() + kReapPatience;
  while (Clock::now() < deadline) {
    for (pid_t tid : read_thread_ids(pid)) {
      const Clock::time_point start = Clock::now();
      bool reaped = false;
      try {
        RemoteMemory memory(pid);
        Tracee thread = Tracee::seize(tid, options);
        thread.stop(std::chrono::milliseconds(100));
        settle_stop(thread, memory);
        reaped = reap_by(thread, pid, snapshot);
        thread.detach();
      } catch (const Error& error) {
        if (error.code() == ErrorCode::kProcessGone || error.code() == ErrorCode::kNotFound) {
          continue; // that thread ended; another may do
        }
      }
      stopped += static_cast<std::uint64_t>(
          std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count());
      if (reaped) {
        return true;
      }
      break;
    }
    if (read_thread_ids(pid).empty()) {
      return true; // the process ended, and its children were given to another
    }
    timespec nap{0, 5'000'000};
    ::nanosleep(&nap, nullptr);
  }
  return false;
}

namespace {

// What a child of a program can be to us.
enum class ChildKind {
  kOther,
  kCopy,       // that is read by us, or another capture
  kEndingCopy, // of a capture that was killed
  kEndedCopy,  // of which an entry in the process table is left
  kGone
};

ChildKind kind_of(pid_t child) {
  const std::optional<std::string> text = try_read_file(proc_path(child, "stat"));
  const std::optional<ProcStatus> status = ProcStatus::try_read(child, child);
  if (!text || text->empty() || !status) {
    return ChildKind::kGone;
  }
  const ProcStat stat = ProcStat::parse(*text);
  if (stat.exit_signal != 0) {
    return ChildKind::kOther;
  }
  if (status->tracer != 0) {
    return ChildKind::kCopy;
  }
  constexpr std::uint64_t kKill = std::uint64_t{1} << (SIGKILL - 1);
  const bool ending = stat.exiting || (status->pending & kKill) != 0;
  return status->state == 'Z' ? ChildKind::kEndedCopy
         : ending             ? ChildKind::kEndingCopy
                              : ChildKind::kOther;
}

} // namespace

bool is_snapshot(pid_t child) {
  return kind_of(child) != ChildKind::kOther;
}

bool is_left_behind(pid_t child) {
  return kind_of(child) == ChildKind::kEndedCopy;
}

void await_left_behind(const std::vector<pid_t>& children) {
  const Clock::time_point deadline = Clock::now() + kReapPatience;
  for (pid_t child : children) {
    while (kind_of(child) == ChildKind::kEndingCopy && Clock::now() < deadline) {
      const timespec nap{0, 1'000'000};
      ::nanosleep(&nap, nullptr);
    }
  }
}

} // namespace rrpcp::process::capture
