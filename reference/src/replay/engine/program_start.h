// The process that a recording begins with, until it executes the program.
#pragma once

#include "base/scoped_fd.h"

#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace rrpcp::replay {

struct ProgramOptions {
  std::vector<std::string> command;  // looked for as execvp(3) does
  std::uint64_t ignored_signals = 0; // it finds them ignored, and all others not
  sigset_t mask{};
  std::uint64_t personality = 0;
  bool filter = false; // with the filter of call_filter.h, where that can be
};

// A child that waits until it is told to execute the program. It has the memory of this process
// instead of a copy: of a copy, both would get each page once more that they write to, which takes
// longer than all that it does. So it makes nothing but system calls, and signals of this thread
// are blocked from here on until the destructor.
class ProgramStart {
public:
  // Throws Error where there can be no process.
  explicit ProgramStart(ProgramOptions options);
  ProgramStart(const ProgramStart&) = delete;
  ProgramStart& operator=(const ProgramStart&) = delete;
  // Ends a child that has not executed the program.
  ~ProgramStart();

  pid_t pid() const { return pid_; }
  void go();
  // The child stands behind its execve(2), and has a memory of its own, or has ended.
  void done() { pid_ = 0; }
  // Of one that has ended instead: why (errno), where it could not execute the program.
  std::optional<int> failure() const;

private:
  void find_program();
  static int begin(void* self);
  void prepare() const;
  int execute();

  const ProgramOptions options_;
  std::vector<std::string> paths_;
  std::vector<const char*> arguments_;
  std::vector<const char*> script_; // the same for a shell that is to read the program
  const pid_t parent_;
  ScopedFd told_; // the child's end of `tells_`
  ScopedFd tells_;
  std::unique_ptr<std::byte[]> stack_;
  sigset_t former_mask_{};
  pid_t pid_ = 0;
  int failure_ = 0; // written by the child
};

} // namespace rrpcp::replay
