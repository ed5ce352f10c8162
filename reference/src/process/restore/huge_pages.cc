#include "process/restore/huge_pages.h"

#include <algorithm>
#include <cerrno>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

namespace rrpcp::restore {

namespace {

constexpr std::uint64_t kHugePage = std::uint64_t{2} << 20; // of x86-64
// The rest of a huge page is memory that the program may never touch: at most as much again.
constexpr std::uint64_t kLeastFilled = kHugePage / 2;

} // namespace

HugePages::HugePages(const std::vector<PageCopy>& copies, const std::vector<MemoryRange>& mapped,
                     pid_t process)
    : process_(process) {
  for (const PageCopy& copy : copies) {
    if (!copy.target.may_be_huge) {
      continue;
    }
    std::uint64_t from = copy.target.position;
    const std::uint64_t end = from + copy.bytes;
    while (from < end) {
      const std::uint64_t address = from / kHugePage * kHugePage;
      const std::uint64_t to = std::min(end, address + kHugePage);
      if (!pages_.empty() && pages_.back().address == address) {
        pages_.back().filled += to - from;
      } else {
        pages_.push_back({address, to - from});
      }
      from = to;
    }
  }
  std::sort(pages_.begin(), pages_.end(),
            [](const HugePage& a, const HugePage& b) { return a.address < b.address; });
  auto last = pages_.begin();
  for (auto page = pages_.begin(); page != pages_.end(); ++page) {
    if (page == last) {
      continue;
    }
    if (page->address == last->address) {
      last->filled += page->filled;
    } else {
      *++last = *page;
    }
  }
  if (!pages_.empty()) {
    pages_.erase(last + 1, pages_.end());
  }
  auto is_cut = [&](const HugePage& page) {
    const auto next = std::lower_bound(
        mapped.begin(), mapped.end(), page.address,
        [](const MemoryRange& range, std::uint64_t at) { return range.end <= at; });
    return next != mapped.end() && next->start < page.address + kHugePage;
  };
  std::erase_if(pages_,
                [&](const HugePage& page) { return page.filled < kLeastFilled || is_cut(page); });
  if (!pages_.empty()) {
    process_fd_.reset(static_cast<int>(::syscall(SYS_pidfd_open, process, 0)));
    asked_ = std::make_unique<std::atomic<bool>[]>(pages_.size());
  }
}

void HugePages::prepare(std::uint64_t address, std::span<const std::byte> bytes) noexcept {
  if (!process_fd_) {
    return;
  }
  const std::uint64_t end = address + bytes.size();
  auto page = std::lower_bound(
      pages_.begin(), pages_.end(), address / kHugePage * kHugePage,
      [](const HugePage& candidate, std::uint64_t wanted) { return candidate.address < wanted; });
  for (; page != pages_.end() && page->address < end; ++page) {
    if (!asked_[static_cast<std::size_t>(page - pages_.begin())].exchange(true)) {
      const std::uint64_t within = std::max(page->address, address);
      make(page->address, within, bytes[within - address]);
    }
  }
}

// The kernel wants a small page there to begin with. The byte is one that belongs there, because
// others may be writing at the same time.
void HugePages::make(std::uint64_t page, std::uint64_t address, const std::byte& byte) noexcept {
  const iovec local{const_cast<std::byte*>(&byte), 1};
  const iovec remote{reinterpret_cast<void*>(address), 1};
  if (::process_vm_writev(process_, &local, 1, &remote, 1, 0) == 1) {
    const iovec whole{reinterpret_cast<void*>(page), kHugePage};
    static_cast<void>(
        ::syscall(SYS_process_madvise, process_fd_.get(), &whole, 1, MADV_COLLAPSE, 0));
  }
}

} // namespace rrpcp::restore
