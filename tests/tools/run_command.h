// Running a command and keeping what it says.
#pragma once

#include <string>
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

} // namespace rrpcp::test
