// Restoring a checkpoint of a live process into a new process.
#pragma once

#include "rrpcp/export.h"
#include "rrpcp/memory_view.h"
#include "rrpcp/process/capture.h"
#include "rrpcp/reader.h"

#include <cstdint>
#include <memory>
#include <string>
#include <sys/types.h>
#include <vector>

namespace RRPCP_PUBLIC rrpcp {

struct RestoreOptions {
  AllowList allow = {};
  BackingFiles files = {};
  // Locks of one open file; more are refused. The kernel takes time by the square of their number:
  // 0.2 s for so many, 12 s for 100,000.
  std::uint32_t max_locks = 10'000;
  // Threads that decode chunks. 0: as many as processors are available.
  unsigned threads = 0;
  // Map raw chunks from the file, to be read when they are touched, instead of copying all memory
  // with its checksums verified. Then the time does not grow with the amount of memory, but such
  // memory can be told from anonymous memory, is missing in core files, is not verified, and the
  // file must stay as it is while the process lives (spec/restore.md, "What mapped memory cannot
  // do").
  bool lazy = false;
  // The process is to live on after the caller has ended: it becomes the leader of a session of its
  // own, and is not told of its parent's end. A stopped process in the caller's session would be
  // sent SIGHUP then.
  bool outlives_restorer = false;
};

// A restored process, stopped under the ptrace of the thread that restored it. Killed and reaped by
// the destructor unless it was let go. Use only from the thread that called restore_process
// (ptrace(2): a tracee has one tracing thread).
class RestoredProcess {
public:
  RestoredProcess(RestoredProcess&&) noexcept;
  RestoredProcess& operator=(RestoredProcess&&) noexcept;
  ~RestoredProcess();

  // Ids in the restorer's pid namespace.
  pid_t pid() const;
  const std::vector<pid_t>& tids() const;
  const std::vector<std::string>& warnings() const;
  // Nanoseconds from the start of the restore to the process being ready to run.
  std::uint64_t nanoseconds() const;

  // Whether the process was stopped by a signal (SIGSTOP, SIGTSTP, …) when it was captured. To
  // leave it as it was, detach_stopped() then.
  bool was_stopped() const;

  // Lets every thread run, without a tracer, even where the process was stopped when it was
  // captured. The process is a child of the caller, who may wait for it.
  void detach_running();
  // Leaves the whole process stopped (as by SIGSTOP) without a tracer, for `gdb -p` or SIGCONT.
  void detach_stopped();
  // Kills and reaps it.
  void kill();

private:
  friend RestoredProcess restore_process(const CheckpointReader&, const RestoreOptions&);
  struct Impl;
  explicit RestoredProcess(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Makes a new process in the state that `reader` holds: mappings, memory, registers, signal state,
// files, ids. Afterwards the file is not needed, unless `lazy` says otherwise.
// Throws Error: kUnsupportedState (another machine, a CPU without a needed feature, something that
// cannot be carried: all of it is listed), kBackingFile, kIdInUse, kPermission, kDamaged, kSystem;
// nothing is left behind then.
RestoredProcess restore_process(const CheckpointReader& reader, const RestoreOptions& options = {});

} // namespace rrpcp
