#include "process/subject_process.h"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <grp.h>
#include <sstream>
#include <stdexcept>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>

namespace rrpcp::test {

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int kCannotRunHere = 77;
constexpr unsigned kNobody = 65534;
constexpr auto kPatience = std::chrono::minutes(2);

void write_control(const std::string& directory, char byte) {
  const int fd = ::open((directory + "/control").c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0 || ::pwrite(fd, &byte, 1, 0) != 1) {
    throw std::runtime_error("cannot write the control file");
  }
  ::close(fd);
}

char state_of(const fs::path& task) {
  std::string stat = read_all((task / "stat").string());
  const std::size_t end = stat.rfind(')');
  return end == std::string::npos ? '?' : stat.at(end + 2);
}

} // namespace

std::string read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void SubjectProcess::prepare(const std::string& directory) {
  for (const char* name : {"ready", "result", "log", "both"}) {
    fs::remove(directory + "/" + name);
  }
  std::string data(40'000, '\0');
  unsigned x = 1;
  for (char& byte : data) {
    x = x * 1103515245 + 12345;
    byte = static_cast<char>(x >> 16);
  }
  std::ofstream(directory + "/data", std::ios::binary) << data;
  std::ofstream(directory + "/shared-file", std::ios::binary) << std::string(40'000, '\0');
  std::ofstream(directory + "/control", std::ios::binary) << std::string(4096, '\0');
}

void SubjectProcess::tell_to_go(const std::string& directory) {
  write_control(directory, 1);
}

void SubjectProcess::tell_to_wait(const std::string& directory) {
  write_control(directory, 0);
}

SubjectProcess::SubjectProcess(const std::string& kind, const std::string& directory,
                               bool as_nobody)
    : directory_(directory) {
  prepare(directory);
  if (as_nobody) {
    fs::permissions(directory, fs::perms::all);
    for (const auto& entry : fs::directory_iterator(directory)) {
      fs::permissions(entry.path(), fs::perms::all);
    }
  }
  pid_ = ::fork();
  if (pid_ < 0) {
    throw std::runtime_error("cannot fork");
  }
  if (pid_ == 0) {
    const int null = ::open("/dev/null", O_RDWR);
    const int errors = ::open((directory + "/errors").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (::dup2(null, 0) < 0 || ::dup2(null, 1) < 0 || ::dup2(errors, 2) < 0) {
      ::_exit(2);
    }
    ::close_range(3, ~0u, 0);
    if (as_nobody && (::setgroups(0, nullptr) != 0 || ::setresgid(kNobody, kNobody, kNobody) != 0 ||
                      ::setresuid(kNobody, kNobody, kNobody) != 0)) {
      ::_exit(2);
    }
    ::execl(RRPCP_SUBJECT, "subject", kind.c_str(), directory.c_str(), static_cast<char*>(nullptr));
    ::_exit(2);
  }
  const auto deadline = Clock::now() + kPatience;
  while (!fs::exists(directory + "/ready")) {
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = 0;
      if (WIFEXITED(status) && WEXITSTATUS(status) == kCannotRunHere) {
        return;
      }
      throw std::runtime_error("the subject ended early: " + read_all(directory + "/errors"));
    }
    if (Clock::now() > deadline) {
      kill();
      throw std::runtime_error("the subject does not become ready");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

SubjectProcess::~SubjectProcess() {
  kill();
}

void SubjectProcess::kill() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, __WALL);
    pid_ = 0;
  }
}

std::string SubjectProcess::finish() {
  tell_to_go(directory_);
  const int status = wait_for_end(std::exchange(pid_, 0));
  if (status != 0) {
    throw std::runtime_error("the subject ended with status " + std::to_string(status) + ": " +
                             read_all(directory_ + "/errors"));
  }
  return read_all(directory_ + "/result");
}

void SubjectProcess::stop() {
  ::kill(pid_, SIGSTOP);
  for (bool all = false; !all;) {
    all = true;
    for (const auto& task : fs::directory_iterator("/proc/" + std::to_string(pid_) + "/task")) {
      all = all && state_of(task.path()) == 'T';
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

int SubjectProcess::wait_for_end(pid_t pid) {
  const auto deadline = Clock::now() + kPatience;
  for (;;) {
    int status = 0;
    const pid_t result = ::waitpid(pid, &status, WNOHANG);
    if (result == pid || (result < 0 && errno != EINTR)) {
      return result == pid ? status : -1;
    }
    if (Clock::now() > deadline) {
      ::kill(pid, SIGKILL);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

std::string SubjectProcess::undisturbed_result(const std::string& kind) {
  const TempDir directory;
  SubjectProcess process(kind, directory.path());
  if (!process.there()) {
    return "";
  }
  return process.finish();
}

} // namespace rrpcp::test
