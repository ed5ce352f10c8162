// Having the kernel tell which pages a process writes between captures.
#pragma once

#include "rrpcp/export.h"
#include "rrpcp/process/capture.h"

#include <memory>
#include <string>
#include <sys/types.h>

namespace rrpcp::process::capture {
class WriteWatch;
} // namespace rrpcp::process::capture

namespace RRPCP_PUBLIC rrpcp {

// Lives as long as captures of one process follow each other, each with the one before it as base
// (CaptureOptions::base): what the kernel says was not written since is taken over unread,
// and where little was written, the process is not even copied.
//
// Private anonymous memory is watched, by userfaultfd(2) with asynchronous write protection and the
// PAGEMAP_SCAN ioctl (Linux 6.7). All other memory is compared with the base, and so is everything
// where the kernel or the process has no such thing. Soft-dirty bits are not used: whoever else
// clears them, as other checkpointers do, would make us miss what was written, in silence.
//
// The process has a thread stopped for a moment to make the descriptor, which it does not keep. As
// long as this object lives, its first write to each page after a capture takes some microseconds,
// memory that it maps does not join memory that is watched (/proc/PID/maps shows two mappings), and
// userfaultfd(2) of its own is refused there (EBUSY).
//
// What is known of the mappings is kept from capture to capture: where we may ask the kernel for
// their flags themselves (BPF: CAP_BPF and CAP_PERFMON, Linux 6.1), it does not go through all pages
// to print those that were seen before (/proc/PID/smaps, numa_maps).
//
// One thread at a time. The destructor, or the end of the calling process, makes an end of it all.
class MemoryWatch {
public:
  MemoryWatch();
  ~MemoryWatch();
  MemoryWatch(const MemoryWatch&) = delete;
  MemoryWatch& operator=(const MemoryWatch&) = delete;

  // Why the last capture left nothing watched, as part of a sentence; empty: it did.
  const std::string& problem() const;

  // For capture_process().
  process::capture::WriteWatch& watch() { return *watch_; }

private:
  std::unique_ptr<process::capture::WriteWatch> watch_;
};

// capture_process() with what the kernel says of the memory since the last capture with the same
// watch: where that made `options.base`, pages that were not written are not compared, not even
// read. Without a base, or with another one, all is read, and watched from then on. A process that
// is to be killed (AfterCapture::kKill) is not watched.
CaptureResult capture_process(pid_t pid, const std::string& path, const CaptureOptions& options,
                              MemoryWatch& watch);

} // namespace rrpcp
