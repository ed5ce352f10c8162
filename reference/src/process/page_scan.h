// Which pages of a process have been touched.
#pragma once

#include "base/scoped_fd.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <sys/types.h>
#include <vector>

namespace rrpcp::process {

// Pages in a row that are in memory or swapped out and are not the shared zero page. (The page map
// does not tell the zero page: without the ioctl it counts.)
struct TouchedRange {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  // The pages belong to a file or to shared memory; false: they are private copies or anonymous.
  bool file = false;
};

// Pages in a row of memory that is watched (PageScanner::is_watched()).
struct WatchedRange {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  bool written = false; // since they were protected, or touched for the first time
  bool absent = false;  // never touched, or given back
  bool guard = false;   // a guard page (madvise(2) MADV_GUARD_INSTALL)
};

// Scans the page tables of one process: with the PAGEMAP_SCAN ioctl (Linux 6.7), else by reading
// /proc/PID/pagemap, which costs time for untouched address space too. Needs the right to trace
// the process. One thread at a time.
class PageScanner {
public:
  // Throws kProcessGone, kPermission.
  explicit PageScanner(pid_t pid);

  // Calls `sink` for the touched ranges within [start, end), in order, not overlapping, neighbours
  // of the same kind joined. Ranges of mappings of huge pages are cut to [start, end). Guard pages
  // are not touched: nothing can be read there.
  void scan(std::uint64_t start, std::uint64_t end,
            const std::function<void(const TouchedRange&)>& sink);

  // Whether the page at the address lies in memory that is registered for asynchronous write
  // protection (userfaultfd(2), UFFD_FEATURE_WP_ASYNC).
  bool is_watched(std::uint64_t address);
  // Calls `sink` for the rows of pages within [start, end), which is watched, that were written
  // since they were protected, or touched for the first time, guard pages among them, and protects
  // them at once: what is written to them from then on is seen the next time, whoever does it. In
  // order. What was touched and is not among them is as it was. False where the kernel cannot do
  // that.
  bool take_written(std::uint64_t start, std::uint64_t end,
                    const std::function<void(const TouchedRange&)>& sink);
  // Calls `sink` for the rows of pages within [start, end), which is watched, that were written
  // (which may be guard pages too), that are guard pages or that are absent, in order; the others
  // are as they were, or swapped out so. Protects nothing. False where the kernel cannot do that.
  // Both take a fraction of scan().
  bool scan_watched(std::uint64_t start, std::uint64_t end,
                    const std::function<void(const WatchedRange&)>& sink);
  // Protects the touched pages within [start, end), which is watched, that are not protected. False
  // where that cannot be.
  bool protect_written(std::uint64_t start, std::uint64_t end);

  // Whether the kernel has the ioctl.
  bool has_ioctl();

  // Calls `sink` for the rows of guard pages (madvise(2) MADV_GUARD_INSTALL) within [start, end),
  // in order. Where the kernel cannot find them by the ioctl it has none, or too few to matter
  // (Linux 6.13 and 6.14): then nothing is called.
  void scan_guards(std::uint64_t start, std::uint64_t end,
                   const std::function<void(const TouchedRange&)>& sink);

  // Use /proc/PID/pagemap even where the ioctl exists.
  void use_pagemap() { use_ioctl_ = false; }

private:
  // What is asked of the ioctl.
  enum class Query { kTouched, kGuards, kWritten, kWatched };
  // A row of pages of the same categories, which are bits of the ioctl.
  struct Row {
    std::uint64_t start = 0;
    std::uint64_t end = 0;
    std::uint64_t categories = 0;
  };
  class RowJoiner;
  bool scan_by_ioctl(std::uint64_t start, std::uint64_t end, Query query,
                     const std::function<void(const Row&)>& sink);
  void scan_by_pagemap(std::uint64_t start, std::uint64_t end,
                       const std::function<void(const TouchedRange&)>& sink);

  pid_t pid_;
  ScopedFd pagemap_;
  bool use_ioctl_ = true;
  bool knows_guards_ = true;
  std::uint64_t page_size_;
  std::vector<std::uint64_t> buffer_;
};

} // namespace rrpcp::process
