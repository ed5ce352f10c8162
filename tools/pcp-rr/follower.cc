#include "pcp-rr/follower.h"

#include "rrpcp/error.h"
#include "rrpcp/replay/replay_checkpoints.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <new>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <thread>
#include <time.h>
#include <unistd.h>
#include <utility>

namespace rrpcp::tools {

struct Follower::Message {
  std::atomic<bool> there{false};
  char text[4096] = {};
};

namespace {

static_assert(Follower::kTold == SIGURG);

// Ends the process when nobody holds the other end of the pipe any more: the recorder was killed.
// Its replayed processes end with it.
void end_with_recorder(int alive) {
  std::thread([alive] {
    char byte;
    while (::read(alive, &byte, 1) < 0 && errno == EINTR) {
    }
    ::kill(::getpid(), SIGKILL);
  }).detach();
}

// Follows; returns why it gave up.
std::string follow(const std::string& directory, const FollowerOptions& follower, bool& differs) {
  CreationOptions options;
  options.event_interval = follower.interval;
  options.check_only = follower.interval == 0;
  options.verify = follower.check;
  options.follow = true;
  options.writer.profile = Profile::kFast;
  options.warn = [](const std::string& text) {
    std::fprintf(stderr, "pcp-rr: warning: %s\n", text.c_str());
  };
  try {
    create_checkpoints(directory, options);
  } catch (const Error& error) {
    differs = error.code() == ErrorCode::kDivergence;
    return error.message();
  }
  return {};
}

} // namespace

Follower::Follower(const std::string& directory, const FollowerOptions& options) {
  void* shared =
      ::mmap(nullptr, sizeof(Message), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) {
    throw system_error(errno, "cannot map shared memory");
  }
  message_ = new (shared) Message;
  int ends[2];
  int alive[2];
  if (::pipe2(ends, O_CLOEXEC) != 0 || ::pipe2(alive, O_CLOEXEC) != 0) {
    throw system_error(errno, "cannot make a pipe");
  }
  std::fflush(nullptr);
  const pid_t recorder = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) {
    throw system_error(errno, "cannot start the process that replays beside the recording");
  }
  if (child == 0) {
    ::close(ends[0]);
    ::close(alive[1]);
    ::setsid();
    if (::fork() != 0) {
      ::_exit(0);
    }
    end_with_recorder(alive[0]);
    bool differs = false;
    const std::string problem = follow(directory, options, differs);
    if (!problem.empty() && !options.check) {
      std::fprintf(stderr, "pcp-rr: no more checkpoints are made: %s\n", problem.c_str());
    }
    if (!problem.empty() && options.check) {
      const std::string text =
          (differs ? "checking the recording: " : "the recording cannot be checked: ") + problem;
      std::memcpy(message_->text, text.data(), std::min(text.size(), sizeof message_->text - 1));
      message_->there.store(true);
      // Again and again: between looking at the message and a wait there is always a moment.
      constexpr int kMostTimes = 3000;
      for (int i = 0; i < kMostTimes && message_->there.load() && ::kill(recorder, kTold) == 0;
           ++i) {
        const timespec pause{0, 20'000'000};
        ::nanosleep(&pause, nullptr);
      }
    }
    ::_exit(0);
  }
  ::close(ends[1]);
  ::close(alive[0]);
  end_ = ends[0];
  alive_ = alive[1];
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Follower::~Follower() {
  if (end_ >= 0) {
    ::close(std::exchange(alive_, -1)); // it is not needed any more
    wait();
  }
  ::munmap(message_, sizeof(Message));
}

std::optional<std::string> Follower::divergence() const {
  if (!message_->there.load()) {
    return std::nullopt;
  }
  return std::string(message_->text);
}

void Follower::wait() {
  if (end_ < 0) {
    return;
  }
  // One that tells something waits to be heard.
  pollfd end{end_, POLLIN, 0};
  while ((alive_ < 0 || !message_->there.load()) && ::poll(&end, 1, -1) <= 0) {
  }
  ::close(std::exchange(end_, -1));
  if (alive_ >= 0) {
    ::close(std::exchange(alive_, -1));
  }
}

} // namespace rrpcp::tools
