#include "pcp-restore/foreground.h"

#include "rrpcp/error.h"

#include <cerrno>
#include <cstdlib>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace rrpcp::tools {

namespace {

// Signals that people and programs send to a program. SIGPIPE and those for errors of the program
// itself concern us, not the child.
constexpr int kPassedOn[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM,  SIGUSR1, SIGUSR2,
                             SIGALRM, SIGCONT, SIGTSTP, SIGWINCH, SIGURG,  SIGIO};

} // namespace

Foreground::Foreground() {
  ::sigemptyset(&signals_);
  for (int signal : kPassedOn) {
    ::sigaddset(&signals_, signal);
  }
  for (int signal = SIGRTMIN; signal <= SIGRTMAX; ++signal) {
    ::sigaddset(&signals_, signal);
  }
  ::sigaddset(&signals_, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &signals_, &before_);
}

Foreground::~Foreground() {
  take_terminal_back();
  ::sigprocmask(SIG_SETMASK, &before_, nullptr);
}

// Where we are in the foreground of a terminal and the child is in a process group of its own, that
// group takes our place there: it may read, and gets what is typed as a signal.
void Foreground::lend_terminal(pid_t group) {
  if (group <= 0 || group == ::getpgrp()) {
    return;
  }
  for (int fd : {0, 2, 1}) {
    if (::isatty(fd) != 0 && ::tcgetpgrp(fd) == ::getpgrp() && ::tcsetpgrp(fd, group) == 0) {
      terminal_ = fd;
      return;
    }
  }
}

void Foreground::take_terminal_back() {
  if (terminal_ < 0) {
    return;
  }
  // From the background this is only possible with SIGTTOU ignored.
  struct sigaction ignore {};
  struct sigaction before {};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGTTOU, &ignore, &before);
  ::tcsetpgrp(terminal_, ::getpgrp());
  ::sigaction(SIGTTOU, &before, nullptr);
  terminal_ = -1;
}

void Foreground::pass_on(pid_t child, const siginfo_t& signal) {
  // What the terminal sends goes to our whole process group: a child in it has got its own.
  const bool from_terminal = signal.si_code == SI_KERNEL;
  if (from_terminal && ::getpgid(child) == ::getpgrp()) {
    return;
  }
  ::kill(child, signal.si_signo);
}

// The child has stopped: so do we, that the shell notices. When we are continued, so is the child.
void Foreground::stop_with(pid_t child) {
  take_terminal_back();
  ::raise(SIGSTOP);
  const pid_t group = ::getpgid(child);
  lend_terminal(group);
  ::kill(group == child ? -group : child, SIGCONT);
}

int Foreground::run(pid_t child) {
  lend_terminal(::getpgid(child));
  for (;;) {
    int status = 0;
    const pid_t result = ::waitpid(child, &status, WNOHANG | WUNTRACED);
    if (result == child && WIFSTOPPED(status)) {
      if (::isatty(0) != 0 || ::isatty(1) != 0 || ::isatty(2) != 0) { // else no shell cares
        stop_with(child);
      }
      continue;
    }
    if (result == child) {
      take_terminal_back();
      return status;
    }
    if (result < 0 && errno != EINTR) {
      throw system_error(errno, "cannot wait for the restored process");
    }
    siginfo_t signal{};
    if (::sigwaitinfo(&signals_, &signal) > 0 && signal.si_signo != SIGCHLD) {
      pass_on(child, signal);
    }
  }
}

void Foreground::end_like(int status) {
  if (WIFSIGNALED(status)) {
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
    const int signal = WTERMSIG(status);
    std::signal(signal, SIG_DFL);
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, signal);
    ::sigprocmask(SIG_UNBLOCK, &set, nullptr);
    ::raise(signal);
    std::_Exit(128 + signal);
  }
  std::_Exit(WEXITSTATUS(status));
}

KeptTerminal::KeptTerminal() {
  for (int fd : {0, 1, 2}) {
    if (::tcgetattr(fd, &attributes_) == 0) {
      fd_ = fd;
      return;
    }
  }
}

KeptTerminal::~KeptTerminal() {
  if (fd_ < 0) {
    return;
  }
  // From the background this would stop us.
  struct sigaction ignore {};
  struct sigaction before {};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGTTOU, &ignore, &before);
  ::tcsetattr(fd_, TCSADRAIN, &attributes_);
  ::sigaction(SIGTTOU, &before, nullptr);
}

} // namespace rrpcp::tools
