#include "process/page_scan.h"

#include "process/proc_file.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utility>

namespace rrpcp::process {

namespace {

// The interface of PAGEMAP_SCAN (Documentation/admin-guide/mm/pagemap.rst of the kernel), which
// older system headers do not have.
struct ScanRegion {
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t categories;
};

struct ScanArguments {
  std::uint64_t size;
  std::uint64_t flags;
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t walk_end;
  std::uint64_t vec;
  std::uint64_t vec_len;
  std::uint64_t max_pages;
  std::uint64_t category_inverted;
  std::uint64_t category_mask;
  std::uint64_t category_anyof_mask;
  std::uint64_t return_mask;
};

constexpr std::uint64_t kFlagProtect = 1u << 0;     // PM_SCAN_WP_MATCHING
constexpr std::uint64_t kFlagOnlyWatched = 1u << 1; // PM_SCAN_CHECK_WPASYNC
constexpr std::uint64_t kCategoryWritten = 1u << 1;
constexpr std::uint64_t kCategoryFile = 1u << 2;
constexpr std::uint64_t kCategoryPresent = 1u << 3;
constexpr std::uint64_t kCategorySwapped = 1u << 4;
constexpr std::uint64_t kCategoryZeroPage = 1u << 5;
constexpr std::uint64_t kCategoryGuard = 1u << 8; // Linux 6.15
constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanArguments);

// Bits of an entry of /proc/PID/pagemap (the same document).
constexpr std::uint64_t kEntryPresent = std::uint64_t{1} << 63;
constexpr std::uint64_t kEntrySwapped = std::uint64_t{1} << 62;
constexpr std::uint64_t kEntryFile = std::uint64_t{1} << 61;
constexpr std::uint64_t kEntryGuard = std::uint64_t{1} << 58;

constexpr std::size_t kRegions = 1024;
constexpr std::size_t kBufferWords = kRegions * sizeof(ScanRegion) / sizeof(std::uint64_t);

} // namespace

// Joins neighbours of the same kind before they reach the sink.
class PageScanner::RowJoiner {
public:
  explicit RowJoiner(std::function<void(const Row&)> sink) : sink_(std::move(sink)) {}
  void add(const Row& row) {
    if (row_.end == row.start && row_.categories == row.categories && row_.end != row_.start) {
      row_.end = row.end;
      return;
    }
    flush();
    row_ = row;
  }
  void flush() {
    if (row_.start != row_.end) {
      sink_(row_);
    }
    row_ = {};
  }

private:
  const std::function<void(const Row&)> sink_;
  Row row_;
};

PageScanner::PageScanner(pid_t pid)
    : pid_(pid), page_size_(static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE))),
      buffer_(kBufferWords) {
  std::string path = proc_path(pid, "pagemap");
  pagemap_.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!pagemap_) {
    throw errno == ENOENT || errno == ESRCH
        ? Error(ErrorCode::kProcessGone, "process " + std::to_string(pid) + " ended meanwhile")
        : system_error(errno, "cannot open").in_file(path);
  }
}

void PageScanner::scan(std::uint64_t start, std::uint64_t end,
                       const std::function<void(const TouchedRange&)>& sink) {
  if (start >= end) {
    return;
  }
  const auto row_sink = [&](const Row& row) {
    sink({row.start, row.end, (row.categories & kCategoryFile) != 0});
  };
  if (use_ioctl_ && scan_by_ioctl(start, end, Query::kTouched, row_sink)) {
    return;
  }
  use_ioctl_ = false;
  scan_by_pagemap(start, end, sink);
}

bool PageScanner::is_watched(std::uint64_t address) {
  ScanArguments arguments{};
  arguments.size = sizeof arguments;
  arguments.flags = kFlagOnlyWatched;
  arguments.start = address;
  arguments.end = address + page_size_;
  arguments.category_anyof_mask = kCategoryPresent;
  arguments.return_mask = kCategoryPresent;
  arguments.vec = reinterpret_cast<std::uintptr_t>(buffer_.data());
  arguments.vec_len = 1;
  return ::ioctl(pagemap_.get(), kPagemapScan, &arguments) >= 0;
}

bool PageScanner::take_written(std::uint64_t start, std::uint64_t end,
                               const std::function<void(const TouchedRange&)>& sink) {
  return scan_by_ioctl(start, end, Query::kWritten, [&](const Row& row) {
    sink({row.start, row.end, false});
  });
}

bool PageScanner::scan_watched(std::uint64_t start, std::uint64_t end,
                               const std::function<void(const WatchedRange&)>& sink) {
  return scan_by_ioctl(start, end, Query::kWatched, [&](const Row& row) {
    const bool absent = (row.categories & (kCategoryPresent | kCategorySwapped)) == 0;
    const bool guard = (row.categories & kCategoryGuard) != 0;
    const bool written = (row.categories & kCategoryWritten) != 0;
    if (absent || guard || written) { // and not only swapped out
      sink({row.start, row.end, written, absent, guard});
    }
  });
}

bool PageScanner::protect_written(std::uint64_t start, std::uint64_t end) {
  while (start < end) {
    ScanArguments arguments{};
    arguments.size = sizeof arguments;
    arguments.flags = kFlagProtect | kFlagOnlyWatched;
    arguments.start = start;
    arguments.end = end;
    // Untouched pages would get page tables.
    arguments.category_mask = kCategoryWritten;
    arguments.category_anyof_mask = kCategoryPresent | kCategorySwapped;
    if (::ioctl(pagemap_.get(), kPagemapScan, &arguments) < 0) {
      if (errno == EINTR) {
        continue;
      }
      return false;
    }
    if (arguments.walk_end <= start) {
      return false;
    }
    start = arguments.walk_end;
  }
  return true;
}

bool PageScanner::has_ioctl() {
  const auto start = reinterpret_cast<std::uintptr_t>(buffer_.data()) & ~(page_size_ - 1);
  return scan_by_ioctl(start, start + page_size_, Query::kTouched, [](const Row&) {});
}

void PageScanner::scan_guards(std::uint64_t start, std::uint64_t end,
                              const std::function<void(const TouchedRange&)>& sink) {
  if (use_ioctl_ && knows_guards_ && start < end) {
    scan_by_ioctl(start, end, Query::kGuards, [&](const Row& row) {
      sink({row.start, row.end, false});
    });
  }
}

// False where the kernel does not know the ioctl; nothing was reported then.
bool PageScanner::scan_by_ioctl(std::uint64_t start, std::uint64_t end, Query query,
                                const std::function<void(const Row&)>& sink) {
  RowJoiner joiner(sink);
  while (start < end) {
    ScanArguments arguments{};
    arguments.size = sizeof arguments;
    arguments.start = start;
    arguments.end = end;
    arguments.vec = reinterpret_cast<std::uintptr_t>(buffer_.data());
    arguments.vec_len = kRegions;
    switch (query) {
    case Query::kTouched: {
      // Neither the zero page nor a guard page (which counts as swapped), and present or swapped.
      const std::uint64_t none = kCategoryZeroPage | (knows_guards_ ? kCategoryGuard : 0);
      arguments.category_inverted = none;
      arguments.category_mask = none;
      arguments.category_anyof_mask = kCategoryPresent | kCategorySwapped;
      arguments.return_mask = kCategoryFile;
      break;
    }
    case Query::kGuards:
      arguments.category_mask = kCategoryGuard;
      arguments.return_mask = kCategoryGuard;
      break;
    case Query::kWritten: // no more than that: looking up what each page is takes most of the time
      arguments.flags = kFlagProtect | kFlagOnlyWatched;
      arguments.category_mask = kCategoryWritten;
      arguments.category_anyof_mask = kCategoryPresent | kCategorySwapped;
      arguments.return_mask = kCategoryWritten;
      break;
    case Query::kWatched: // written, or not present, and what it is then, in one walk
      arguments.flags = kFlagOnlyWatched;
      arguments.category_inverted = kCategoryPresent;
      arguments.category_anyof_mask = kCategoryWritten | kCategoryPresent;
      arguments.return_mask = kCategoryWritten | kCategoryPresent | kCategorySwapped |
                              (knows_guards_ ? kCategoryGuard : 0);
      break;
    }
    int count = ::ioctl(pagemap_.get(), kPagemapScan, &arguments);
    if (count < 0) {
      if (errno == EINTR) {
        continue;
      }
      if (errno == EINVAL && knows_guards_) {
        knows_guards_ = false; // an older kernel
        if (query == Query::kGuards) {
          return true;
        }
        continue;
      }
      if (errno == ENOTTY || errno == EINVAL) {
        return false;
      }
      if (errno == ESRCH) {
        throw Error(ErrorCode::kProcessGone,
                    "process " + std::to_string(pid_) + " ended meanwhile");
      }
      throw system_error(errno, "cannot scan the page tables of process " + std::to_string(pid_));
    }
    const std::byte* bytes = reinterpret_cast<const std::byte*>(buffer_.data());
    std::uint64_t reached = start;
    for (int i = 0; i < count; ++i) {
      ScanRegion region;
      std::memcpy(&region, bytes + static_cast<std::size_t>(i) * sizeof region, sizeof region);
      joiner.add({std::max(region.start, start), std::min(region.end, end), region.categories});
      reached = region.end;
    }
    // Where the kernel fills its own buffer of 512 regions and then comes to the end of the range,
    // walk_end is where that buffer was full (seen on Linux 6.18): before regions that were
    // reported.
    reached = std::max(reached, arguments.walk_end);
    if (reached <= start) {
      break;
    }
    start = reached;
  }
  joiner.flush();
  return true;
}

void PageScanner::scan_by_pagemap(std::uint64_t start, std::uint64_t end,
                                  const std::function<void(const TouchedRange&)>& sink) {
  RowJoiner joiner([&](const Row& row) {
    sink({row.start, row.end, (row.categories & kCategoryFile) != 0});
  });
  while (start < end) {
    std::uint64_t wanted = std::min<std::uint64_t>((end - start) / page_size_, buffer_.size());
    ssize_t n = ::pread(pagemap_.get(), buffer_.data(), wanted * sizeof(std::uint64_t),
                        static_cast<off_t>(start / page_size_ * sizeof(std::uint64_t)));
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      throw system_error(errno, "cannot read the page tables of process " + std::to_string(pid_));
    }
    std::uint64_t count = static_cast<std::uint64_t>(n) / sizeof(std::uint64_t);
    if (count == 0) {
      throw Error(ErrorCode::kProcessGone, "process " + std::to_string(pid_) + " ended meanwhile");
    }
    for (std::uint64_t i = 0; i < count; ++i) {
      if ((buffer_[i] & (kEntryPresent | kEntrySwapped)) != 0 && (buffer_[i] & kEntryGuard) == 0) {
        joiner.add({start + i * page_size_, start + (i + 1) * page_size_,
                    (buffer_[i] & kEntryFile) != 0 ? kCategoryFile : 0});
      }
    }
    start += count * page_size_;
  }
  joiner.flush();
}

} // namespace rrpcp::process
