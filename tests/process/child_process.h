// A forked child of a test, killed and reaped at the end.
#pragma once

#include <csignal>
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

namespace rrpcp::test {

// Runs `body` in a child process; what it returns is the exit status.
class ChildProcess {
public:
  explicit ChildProcess(const std::function<int()>& body) {
    int ready[2];
    if (::pipe(ready) != 0) {
      throw std::runtime_error("cannot make a pipe");
    }
    pid_ = ::fork();
    if (pid_ < 0) {
      throw std::runtime_error("cannot fork");
    }
    if (pid_ == 0) {
      ::close(ready[0]);
      ready_fd() = ready[1];
      ::_exit(body());
    }
    ::close(ready[1]);
    char byte;
    while (::read(ready[0], &byte, 1) < 0 && errno == EINTR) {
    }
    ::close(ready[0]);
  }
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  ~ChildProcess() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, __WALL);
    }
  }

  // Called by the child: the constructor in the parent returns.
  static void announce_ready() {
    ::close(ready_fd());
    ready_fd() = -1;
  }

  pid_t pid() const { return pid_; }
  // Waits for the end and returns the status word of waitpid(2).
  int wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
    return status;
  }

private:
  static int& ready_fd() {
    static int fd = -1;
    return fd;
  }

  pid_t pid_ = 0;
};

} // namespace rrpcp::test
