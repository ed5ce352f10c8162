#include "replay/engine/task_waiter.h"

#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <pthread.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

namespace rrpcp::replay {

namespace {

sigset_t child_signal() {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGCHLD);
  return set;
}

} // namespace

TaskWaiter::TaskWaiter() {
  const sigset_t set = child_signal();
  sigset_t before;
  ::pthread_sigmask(SIG_BLOCK, &set, &before);
  was_blocked_ = ::sigismember(&before, SIGCHLD) == 1;
}

TaskWaiter::~TaskWaiter() {
  if (!was_blocked_) {
    const sigset_t set = child_signal();
    ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  }
}

std::optional<process::TraceeStop> interrupt_running(process::Tracee& tracee) {
  tracee.interrupt();
  process::TraceeStop stop = tracee.wait();
  if (!stop.event_stop()) {
    return stop;
  }
  std::array<siginfo_t, 32> pending{};
  __ptrace_peeksiginfo_args range{0, 0, static_cast<std::int32_t>(pending.size())};
  const long count = ::ptrace(PTRACE_PEEKSIGINFO, tracee.tid(), &range, pending.data());
  const bool faulted = std::any_of(
      pending.begin(), pending.begin() + std::max(count, 0L), [](const siginfo_t& info) {
        return info.si_code > 0 &&
               (info.si_signo == SIGTRAP || info.si_signo == SIGSEGV || info.si_signo == SIGBUS ||
                info.si_signo == SIGILL || info.si_signo == SIGFPE);
      });
  if (!faulted) {
    return std::nullopt;
  }
  tracee.resume(PTRACE_SYSEMU);
  return tracee.wait();
}

std::optional<TaskReport> TaskWaiter::wait_with(int flags, pid_t wanted) {
  int status = 0;
  const pid_t tid = ::waitpid(wanted, &status, __WALL | __WNOTHREAD | flags);
  if (tid > 0) {
    return TaskReport{tid, status};
  }
  if (tid < 0 && errno == ECHILD && ((flags & WNOHANG) == 0 || wanted != -1)) {
    throw Error(ErrorCode::kProcessGone, "the traced processes are gone");
  }
  if (tid < 0 && errno != EINTR && errno != ECHILD) {
    throw system_error(errno, "waiting for a traced process");
  }
  return std::nullopt;
}

std::optional<TaskReport> TaskWaiter::poll() {
  return wait_with(WNOHANG);
}

std::optional<TaskReport> TaskWaiter::wait() {
  return wait_with(0);
}

std::optional<TaskReport> TaskWaiter::wait_for(std::chrono::microseconds limit, pid_t tid) {
  // (sched_yield(2) would give the processor to everybody else who wants it too.)
  const sigset_t set = child_signal();
  const auto deadline = std::chrono::steady_clock::now() + limit;
  for (;;) {
    if (std::optional<TaskReport> report = wait_with(WNOHANG, tid)) {
      return report;
    }
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left.count() <= 0) {
      return std::nullopt;
    }
    const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(left).count();
    const timespec time{nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
    ::sigtimedwait(&set, nullptr, &time); // any outcome: look again
  }
}

} // namespace rrpcp::replay
