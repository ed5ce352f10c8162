// /proc/PID/stat.
#pragma once

#include <cstdint>
#include <string_view>
#include <sys/types.h>

namespace rrpcp::process {

// What proc_pid_stat(5) says of a process, as far as a checkpoint needs it. The addresses need the
// right to trace the process (PTRACE_MODE_READ), else they are 0.
struct ProcStat {
  char state = '?';
  pid_t parent = 0;
  pid_t process_group = 0;
  pid_t session = 0;
  // It is ending, and its memory is being given back (PF_EXITING of the kernel).
  bool exiting = false;
  std::uint64_t start_time = 0; // clock ticks since boot
  std::uint64_t start_code = 0;
  std::uint64_t end_code = 0;
  std::uint64_t start_stack = 0;
  // Signal that the parent gets when the process ends; 0: none.
  int exit_signal = 0;
  std::uint64_t start_data = 0;
  std::uint64_t end_data = 0;
  std::uint64_t start_brk = 0;
  std::uint64_t arg_start = 0;
  std::uint64_t arg_end = 0;
  std::uint64_t env_start = 0;
  std::uint64_t env_end = 0;

  // Throws kProcessGone where the process is gone.
  static ProcStat read(pid_t pid);
  static ProcStat parse(std::string_view text);
};

} // namespace rrpcp::process
