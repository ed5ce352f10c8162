// Huge pages for memory that is filled at once.
#pragma once

#include "base/scoped_fd.h"
#include "process/restore/memory_range.h"
#include "process/restore/page_copy.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <sys/types.h>
#include <vector>

namespace rrpcp::restore {

// Which huge pages of a new process are about to be filled, all or most of them, and the means to
// get them: filling fresh small pages costs several times as much as the copying itself. The kernel
// is asked page by page (MADV_COLLAPSE, Linux 6.1) and not by an advice that would stay with the
// mapping. Where it cannot or must not (an older kernel, no CAP_SYS_NICE, no huge page free, advice
// of the program against it), small pages are filled, as ever.
// Thread-safe after construction.
class HugePages {
public:
  // `mapped` are parts of the memory that something else is mapped over, in order of address;
  // `process` is the new process.
  HugePages(const std::vector<PageCopy>& copies, const std::vector<MemoryRange>& mapped,
            pid_t process);

  // To be called before `bytes` are written to `address` of the process. May write some of them.
  void prepare(std::uint64_t address, std::span<const std::byte> bytes) noexcept;

private:
  struct HugePage {
    std::uint64_t address;
    std::uint64_t filled; // bytes that copies go to
  };

  // Makes the one at `page`, in which `byte` belongs at `address`.
  void make(std::uint64_t page, std::uint64_t address, const std::byte& byte) noexcept;

  pid_t process_;
  ScopedFd process_fd_;
  std::vector<HugePage> pages_; // in order of address
  std::unique_ptr<std::atomic<bool>[]> asked_;
};

} // namespace rrpcp::restore
