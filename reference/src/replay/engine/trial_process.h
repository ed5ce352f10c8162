// Trying in a process of its own what a machine can do.
#pragma once

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <functional>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

namespace rrpcp::replay {

// Exit codes of a trial.
inline constexpr int kTrialFaulted = 3; // SIGSEGV
inline constexpr int kTrialPassed = 4;
inline constexpr int kTrialRefused = 5;

// A child of the calling thread, which nobody else is told of: its end raises no signal. It ends
// with its parent. Killed and reaped by the destructor.
class TrialProcess {
public:
  // Runs `attempt`, a function that makes only system calls, and ends with what it returns, or with
  // kTrialFaulted.
  template <typename Attempt> explicit TrialProcess(const Attempt& attempt) {
    const pid_t parent = ::getpid();
    pid_ = static_cast<pid_t>(::syscall(SYS_clone, 0, nullptr, nullptr, nullptr, 0));
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) {
        ::_exit(kTrialRefused);
      }
      struct sigaction action {};
      action.sa_handler = [](int) { ::_exit(kTrialFaulted); };
      ::sigaction(SIGSEGV, &action, nullptr);
      sigset_t none;
      ::sigemptyset(&none);
      ::sigprocmask(SIG_SETMASK, &none, nullptr);
      ::_exit(attempt());
    }
  }
  TrialProcess(const TrialProcess&) = delete;
  TrialProcess& operator=(const TrialProcess&) = delete;
  ~TrialProcess() {
    if (pid_ > 0 && !ended_) {
      ::kill(pid_, SIGKILL);
      while (!ended_ && wait() >= 0) {
      }
    }
  }

  // -1: none could be made.
  pid_t pid() const { return pid_; }
  // Its next report, as waitpid(2) gives it; -1 where there is none.
  int wait() {
    int status = 0;
    while (pid_ > 0 && !ended_) {
      if (::waitpid(pid_, &status, __WALL) == pid_) {
        ended_ = WIFEXITED(status) || WIFSIGNALED(status);
        return status;
      }
      if (errno != EINTR) {
        break;
      }
    }
    return -1;
  }
  // Its exit code; -1 where it did not exit.
  int result() {
    const int status = wait();
    return status >= 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

private:
  pid_t pid_ = -1;
  bool ended_ = false;
};

} // namespace rrpcp::replay
