#include "tools/run_command.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdexcept>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace rrpcp::test {
namespace {

struct Pipe {
  ScopedFd read;
  ScopedFd write;
};

Pipe make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    throw std::runtime_error("cannot make a pipe");
  }
  return {ScopedFd(ends[0]), ScopedFd(ends[1])};
}

pid_t spawn(const std::vector<std::string>& arguments, int out, int err) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) {
    argv.push_back(const_cast<char*>(argument.c_str()));
  }
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out, 1);
  posix_spawn_file_actions_adddup2(&actions, err, 2);
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    throw std::runtime_error("cannot run " + arguments[0]);
  }
  return pid;
}

// Reads both descriptors until both have ended.
void drain(int first, std::string& first_text, int second, std::string& second_text) {
  std::array<pollfd, 2> polled = {{{first, POLLIN, 0}, {second, POLLIN, 0}}};
  std::array<std::string*, 2> texts = {&first_text, &second_text};
  std::array<char, 65536> buffer;
  while (polled[0].fd >= 0 || polled[1].fd >= 0) {
    if (::poll(polled.data(), polled.size(), -1) < 0 && errno != EINTR) {
      throw std::runtime_error("cannot wait for output");
    }
    for (std::size_t i = 0; i < polled.size(); ++i) {
      if (polled[i].fd < 0 || polled[i].revents == 0) {
        continue;
      }
      const ssize_t n = ::read(polled[i].fd, buffer.data(), buffer.size());
      if (n > 0) {
        texts[i]->append(buffer.data(), static_cast<std::size_t>(n));
      } else if (n == 0 || errno != EINTR) {
        polled[i].fd = -1;
      }
    }
  }
}

void wait_for(pid_t pid, CommandResult& result) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  result.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  result.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

} // namespace

CommandResult run_command(const std::vector<std::string>& arguments) {
  return RunningCommand(arguments).wait();
}

RunningCommand::RunningCommand(const std::vector<std::string>& arguments) {
  Pipe out = make_pipe();
  Pipe err = make_pipe();
  pid_ = spawn(arguments, out.write.get(), err.write.get());
  out_ = std::move(out.read);
  err_ = std::move(err.read);
}

RunningCommand::~RunningCommand() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
}

CommandResult RunningCommand::wait() {
  CommandResult result;
  drain(out_.get(), result.out, err_.get(), result.err);
  wait_for(std::exchange(pid_, 0), result);
  return result;
}

CommandResult run_command_into(const std::vector<std::string>& arguments, int out) {
  CommandResult result;
  Pipe err = make_pipe();
  const pid_t pid = spawn(arguments, out, err.write.get());
  err.write.reset();
  std::string nothing;
  drain(-1, nothing, err.read.get(), result.err);
  wait_for(pid, result);
  return result;
}

} // namespace rrpcp::test
