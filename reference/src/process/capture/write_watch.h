// Watching what a process writes from one capture to the next: rrpcp/process/memory_watch.h.
#pragma once

#include "base/scoped_fd.h"
#include "process/capture/address_range.h"
#include "process/capture/aside_memory.h"
#include "process/capture/memory_report.h"
#include "process/capture/scratch_memory.h"
#include "process/proc_maps.h"
#include "process/tracee.h"
#include "rrpcp/checkpoint_id.h"
#include "rrpcp/reader.h"

#include <cstdint>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace rrpcp::process::capture {

// A userfaultfd of the process in which private anonymous memory is registered for asynchronous
// write protection (linux/userfaultfd.h, UFFD_FEATURE_WP_ASYNC). The kernel takes the protection of
// a page away when it is written and tells nobody; PageScanner finds the pages that still have it.
class WriteWatch {
public:
  // Whether what was written to this very process since the checkpoint in this file was made is
  // known.
  bool knows(pid_t pid, const CheckpointReader& base) const;

  // Before the process stands still, where it knows() the base: protects again what was written
  // since then, which has to be read when it does stand still. knows() nothing from now on, until
  // captured(). Returns what that is, in order.
  std::vector<AddressRange> take_early(pid_t pid, const std::vector<ProcMapping>& mappings);
  // Knows what was said of this process's mappings.
  MemoryReporter& reporter() { return reporter_; }
  // For what a capture sets aside; kept for the next one.
  AsideMemory& aside() { return aside_; }

  // While the process stands still: registers its memory, where that was not done yet. `thread` is
  // a stopped one. Where it cannot be, problem() says why.
  void enroll(pid_t pid, Tracee& thread, const CallSite& site,
              const std::vector<ProcMapping>& mappings);
  // The mappings that are registered, in order; those that were before enroll(), and so may have
  // pages that were not written since.
  const std::vector<AddressRange>& enrolled() const { return enrolled_; }
  const std::vector<AddressRange>& watched() const { return watched_; }
  // Has everything that is written from now on noted, in what was not watched() before or, with
  // `all`, everywhere: before it is read, so that nothing is missed which somebody writes
  // meanwhile. knows() nothing until captured().
  void protect(pid_t pid, bool all);
  // What was protected is in the file `path` now, which is this checkpoint.
  void captured(const CheckpointId& id, const std::string& path);

  const std::string& problem() const { return problem_; }

private:
  bool open(pid_t pid, Tracee& thread, const CallSite& site);
  bool give_up(const std::string& why);

  ScopedFd faults_; // the userfaultfd
  pid_t pid_ = 0;
  std::uint64_t start_time_ = 0; // of the process, in clock ticks since boot
  std::vector<AddressRange> enrolled_;
  std::vector<AddressRange> watched_;
  std::optional<CheckpointId> since_;
  // Of its file: an id does not tell two files apart of which somebody wants that (spec/series.md).
  std::uint64_t device_ = 0;
  std::uint64_t inode_ = 0;
  MemoryReporter reporter_;
  AsideMemory aside_;
  std::string problem_ = "nothing was captured yet";
};

} // namespace rrpcp::process::capture
