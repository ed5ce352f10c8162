#include "pcp-rr/checkpointer.h"

#include "rrpcp/error.h"
#include "rrpcp/replay_checkpoints.h"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace rrpcp::tools {
namespace {

void make_all(const std::string& directory, std::int64_t interval) {
  CreationOptions options;
  options.event_interval = interval;
  options.follow = true;
  options.writer.profile = Profile::kFast;
  options.warn = [](const std::string& text) {
    std::fprintf(stderr, "pcp-rr: warning: %s\n", text.c_str());
  };
  try {
    create_checkpoints(directory, options);
  } catch (const Error& error) {
    std::fprintf(stderr, "pcp-rr: no more checkpoints are made: %s\n", error.what());
  }
}

} // namespace

Checkpointer::Checkpointer(const std::string& directory, std::int64_t interval) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    throw system_error(errno, "cannot make a pipe");
  }
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) {
    const int reason = errno;
    ::close(ends[0]);
    ::close(ends[1]);
    throw system_error(reason, "cannot start the process that makes checkpoints");
  }
  if (child == 0) {
    ::close(ends[0]);
    ::setsid();
    if (::fork() == 0) {
      make_all(directory, interval);
    }
    ::_exit(0);
  }
  ::close(ends[1]);
  end_ = ends[0];
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Checkpointer::~Checkpointer() {
  wait();
}

void Checkpointer::wait() {
  if (end_ < 0) {
    return;
  }
  char byte;
  while (::read(end_, &byte, 1) < 0 && errno == EINTR) {
  }
  ::close(end_);
  end_ = -1;
}

} // namespace rrpcp::tools
