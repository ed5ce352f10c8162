// /proc/PID/task/TID/status.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace rrpcp::process {

// What proc_pid_status(5) says of a thread, as far as a checkpoint needs it. Signal sets have bit
// N-1 for signal N; ids are those of the reader's namespaces.
struct ProcStatus {
  std::string name;
  // R, S, D, T (stopped), t (traced), Z, X, I.
  char state = '?';
  pid_t process = 0;
  pid_t thread = 0;
  pid_t parent = 0;
  // The same as the thread itself sees them, in its own pid namespace (pid_namespaces(7)).
  pid_t process_in_namespace = 0;
  pid_t thread_in_namespace = 0;
  pid_t process_group_in_namespace = 0;
  pid_t session_in_namespace = 0;
  // All ids of the thread, from the reader's namespace to the thread's own.
  std::vector<pid_t> thread_ids;
  // Whether that namespace is the reader's.
  bool same_namespace = true;
  // 0: nobody traces the thread.
  pid_t tracer = 0;
  bool kernel_thread = false;
  std::uint32_t umask = 0;
  // Real, effective, saved, file system.
  std::array<std::uint32_t, 4> uids{};
  std::array<std::uint32_t, 4> gids{};
  std::vector<std::uint32_t> groups;
  std::uint64_t pending = 0;
  std::uint64_t shared_pending = 0;
  // The mask in force: in sigsuspend(2) and the like the one that the call was given.
  std::uint64_t blocked = 0;
  std::uint64_t ignored = 0;
  std::uint64_t caught = 0;
  std::uint64_t inheritable = 0;
  std::uint64_t permitted = 0;
  std::uint64_t effective = 0;
  std::uint64_t bounding = 0;
  std::uint64_t ambient = 0;
  bool no_new_privileges = false;
  // SECCOMP_MODE_* of seccomp(2): 0 none, 1 strict, 2 filter.
  int seccomp = 0;
  // What a tag in an address may not be part of (x86 LAM): all bits where there are no tags.
  std::uint64_t address_mask = ~std::uint64_t{0};
  // "thread mitigated", "conditional disabled" and the like (Documentation/userspace-api/
  // spec_ctrl.rst). Empty: the kernel does not say.
  std::string store_bypass;
  std::string indirect_branch;
  std::uint64_t threads = 0;
  // Bytes of locked memory (mlock(2)).
  std::uint64_t locked = 0;

  // Nothing where the thread is gone. Throws Error.
  static std::optional<ProcStatus> try_read(pid_t pid, pid_t tid);
  // Throws kProcessGone where the thread is gone.
  static ProcStatus read(pid_t pid, pid_t tid);
  static ProcStatus parse(std::string_view text);
};

} // namespace rrpcp::process
