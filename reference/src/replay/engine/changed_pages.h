// Finding out what was written to a process's memory by comparing it.
#pragma once

#include "process/remote_memory.h"
#include "replay/engine/made_code.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <sys/types.h>

namespace rrpcp::replay {

struct PageRange {
  std::uint64_t from = 0; // addresses, bounds of pages
  std::uint64_t to = ~std::uint64_t{0};
};

// Calls `sink` with the pages of a process that it may have written: all touched ones of writable
// mappings, in order, one call for each piece of at most 64 KiB. Of the pages in `part`. `made`: of
// what the program may write, the kernel may be told meanwhile that it may not. Throws Error.
void visit_writable_pages(
    pid_t tid, process::RemoteMemory& memory,
    const std::function<void(std::uint64_t address, std::span<const std::byte> bytes)>& sink,
    PageRange part = {}, const MadeCode* made = nullptr);

// Remembers digests of all writable pages of a process, to tell later which of them changed. Takes
// time by the amount of memory; needs no support from the kernel.
class PageDigests {
public:
  // Of the pages in `part` only. `made` as above.
  PageDigests(pid_t tid, process::RemoteMemory& memory, PageRange part,
              std::shared_ptr<const MadeCode> made);

  // Calls `sink` with the pages that differ now from what they were, with all that have come into
  // being since (what they were is not known, of a file's page it need not have been zero), and
  // with those that are mapped still but were given up: they are what was there at first, zero or a
  // file's page.
  void visit_changes(pid_t tid, process::RemoteMemory& memory,
                     const std::function<void(std::uint64_t address,
                                              std::span<const std::byte> page)>& sink) const;

private:
  PageRange part_;
  std::shared_ptr<const MadeCode> made_;
  std::map<std::uint64_t, std::uint64_t> digests_; // by page address
};

} // namespace rrpcp::replay
