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

namespace rrpcp::capture {

namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kReapPatience = std::chrono::seconds(2);

} // namespace

std::optional<Snapshot> Snapshot::make(Tracee& thread, const CallSite& site, std::uintptr_t options,
                                       int& errno_value) {
  thread.set_options(options | PTRACE_O_TRACECLONE);
  std::optional<Snapshot> snapshot;
  {
    RemoteCalls calls = site.begin(thread);
    const std::int64_t result = calls.call(SYS_clone, CLONE_FILES, 0, 0, 0, 0);
    if (std::optional<pid_t> tid = calls.take_new_thread()) {
      Tracee copy = Tracee::adopt(*tid, false);
      copy.wait_stop();
      // If we die from here on, the copy does too; until here the gate's code sees to that.
      copy.set_options(options | PTRACE_O_EXITKILL);
      snapshot = Snapshot(std::move(copy), static_cast<pid_t>(result));
    } else {
      errno_value = static_cast<int>(-result);
    }
    calls.finish();
  }
  thread.set_options(options);
  return snapshot;
}

Snapshot::Snapshot(Snapshot&& other) noexcept
    : thread_(std::move(other.thread_)), pid_(std::exchange(other.pid_, 0)),
      pid_in_namespace_(other.pid_in_namespace_) {}

Snapshot& Snapshot::operator=(Snapshot&& other) noexcept {
  if (this != &other) {
    kill();
    thread_ = std::move(other.thread_);
    pid_ = std::exchange(other.pid_, 0);
    pid_in_namespace_ = other.pid_in_namespace_;
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
  ::kill(std::exchange(pid_, 0), SIGKILL);
  try {
    while (thread_.attached() && !thread_.wait().gone()) {
    }
  } catch (const Error&) {
    thread_.release(); // somebody else has killed it
  }
}

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
        std::vector<ProcMapping> mappings = read_mappings(pid);
        std::optional<CallGate> gate = CallGate::open(pid, mappings);
        CallSite site{gate ? &*gate : nullptr, {}};
        if (!gate) {
          site.instruction = find_syscall_instruction(pid, mappings);
        }
        if (!gate || !gate->contains(thread.registers())) {
          RemoteCalls calls = site.begin(thread);
          reaped = calls.call(SYS_wait4, static_cast<std::uint64_t>(snapshot), 0, __WALL | WNOHANG,
                              0) == snapshot;
          calls.finish();
        }
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

bool is_snapshot(pid_t child) {
  std::optional<std::string> text = try_read_file(proc_path(child, "stat"));
  std::optional<ProcStatus> status = ProcStatus::try_read(child, child);
  if (!text || text->empty() || !status) {
    return true; // it is gone
  }
  return ProcStat::parse(*text).exit_signal == 0 && (status->tracer != 0 || status->state == 'Z');
}

} // namespace rrpcp::capture
