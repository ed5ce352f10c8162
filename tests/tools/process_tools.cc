#include "tools/process_tools.h"

#include <chrono>
#include <csignal>
#include <gtest/gtest.h>
#include <sstream>
#include <stdexcept>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace rrpcp::test {

std::string capture_tool() {
  return RRPCP_CAPTURE;
}

std::string restore_tool() {
  return RRPCP_RESTORE;
}

std::string validate_tool() {
  return RRPCP_VALIDATE;
}

CommandResult capture(pid_t pid, const std::string& file, std::vector<std::string> options) {
  std::vector<std::string> arguments = {capture_tool(), std::to_string(pid), "-o", file};
  arguments.insert(arguments.end(), options.begin(), options.end());
  return run_command(arguments);
}

CommandResult restore(const std::string& file, std::vector<std::string> options) {
  std::vector<std::string> arguments = {restore_tool(), file};
  arguments.insert(arguments.end(), options.begin(), options.end());
  return run_command(arguments);
}

std::vector<std::string> as_nobody(std::vector<std::string> arguments) {
  std::vector<std::string> all = {"/usr/bin/setpriv", "--reuid=65534", "--regid=65534",
                                  "--clear-groups", "--inh-caps=-all"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return all;
}

pid_t tracer_of(pid_t pid) {
  std::istringstream status(read_all("/proc/" + std::to_string(pid) + "/status"));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("TracerPid:")) {
      return std::stoi(line.substr(10));
    }
  }
  return 0;
}

void wait_until_traced(pid_t pid) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(2);
  while (tracer_of(pid) == 0) {
    if (std::chrono::steady_clock::now() > deadline) {
      throw std::runtime_error("nobody traces process " + std::to_string(pid));
    }
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
}

void wait_until_traced_or_ended(pid_t pid, pid_t tool) {
  siginfo_t end{};
  while (tracer_of(pid) == 0 && end.si_pid == 0) {
    std::this_thread::sleep_for(std::chrono::microseconds(200));
    if (::waitid(P_PID, static_cast<id_t>(tool), &end, WEXITED | WNOHANG | WNOWAIT) != 0) {
      throw std::runtime_error("no child " + std::to_string(tool));
    }
  }
}

bool is_there(pid_t pid) {
  return ::kill(pid, 0) == 0;
}

void expect_unharmed(SubjectProcess& subject, const std::string& kind) {
  const std::string base = "/proc/" + std::to_string(subject.pid());
  EXPECT_EQ(tracer_of(subject.pid()), 0);
  EXPECT_EQ(read_all(base + "/task/" + std::to_string(subject.pid()) + "/children"), "");
  EXPECT_EQ(subject.finish(), SubjectProcess::undisturbed_result(kind));
}

} // namespace rrpcp::test
