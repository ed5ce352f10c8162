// Running a command and keeping what it says.
#pragma once

#include "base/scoped_fd.h"

#include <string>
#include <sys/types.h>
#include <vector>

namespace rrpcp::test {

struct CommandResult {
  int code = -1;   // exit code, or -1 where a signal ended it
  int signal = 0;  // that signal
  std::string out; // standard output
  std::string err; // standard error
};

// Runs `arguments`, the first of which is the program's path, and waits for its end.
CommandResult run_command(const std::vector<std::string>& arguments);
// The same with standard output being descriptor `out`; CommandResult::out stays empty.
CommandResult run_command_into(const std::vector<std::string>& arguments, int out);

// A command that runs meanwhile. Killed and reaped at the end.
class RunningCommand {
public:
  explicit RunningCommand(const std::vector<std::string>& arguments);
  RunningCommand(const RunningCommand&) = delete;
  RunningCommand& operator=(const RunningCommand&) = delete;
  ~RunningCommand();

  pid_t pid() const { return pid_; }
  // Waits for its end.
  CommandResult wait();

private:
  ScopedFd out_;
  ScopedFd err_;
  pid_t pid_ = 0;
};

} // namespace rrpcp::test
