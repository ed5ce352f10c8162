// Running a function in a child whose system calls a test interferes with.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace rrpcp::test {

// One system call of the child, before it is carried out.
struct SyscallEntry {
  // Running number over all threads of the child, from 0.
  std::uint64_t index;
  long number;
  std::uint64_t arguments[6];
};

// What to do about it.
struct Fault {
  enum Kind {
    kNone,
    kKill,       // SIGKILL before the call is carried out
    kFail,       // the call is not carried out and fails with `error`
    kShortWrite, // a write(2) of more than one byte is cut to half of it
  } kind = kNone;
  int error = 0;
};

struct FaultRun {
  // As waitpid(2) gives it.
  int status = 0;
  // System calls that were seen.
  std::uint64_t calls = 0;
};

// Runs `work` in a forked child; its return value is the exit status. `decide` is asked at every
// system call of every thread after `work` began.
FaultRun run_with_faults(const std::function<int()>& work,
                         const std::function<Fault(const SyscallEntry&)>& decide);

} // namespace rrpcp::test
