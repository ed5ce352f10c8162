// Finding out what was written to a process's memory by comparing it.
#pragma once

#include "process/remote_memory.h"

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <sys/types.h>

namespace rrpcp::replay {

// Calls `sink` with the pages of a process that it may have written: all touched ones of writable
// mappings, in order, one call for each piece of at most 64 KiB. Of [from, to), bounds of pages.
// Throws Error.
void visit_writable_pages(
    pid_t tid, RemoteMemory& memory,
    const std::function<void(std::uint64_t address, std::span<const std::byte> bytes)>& sink,
    std::uint64_t from = 0, std::uint64_t to = ~std::uint64_t{0});

// Remembers digests of all writable pages of a process, to tell later which of them changed. Takes
// time by the amount of memory; needs no support from the kernel.
class PageDigests {
public:
  // Of the pages in [from, to) only.
  PageDigests(pid_t tid, RemoteMemory& memory, std::uint64_t from = 0,
              std::uint64_t to = ~std::uint64_t{0});

  // Calls `sink` with the pages that differ now from what they were, with all that have come into
  // being since (what they were is not known, of a file's page it need not have been zero), and
  // with those that are mapped still but were given up: they are what was there at first, zero or a
  // file's page.
  void visit_changes(pid_t tid, RemoteMemory& memory,
                     const std::function<void(std::uint64_t address,
                                              std::span<const std::byte> page)>& sink) const;

private:
  std::uint64_t from_;
  std::uint64_t to_;
  std::map<std::uint64_t, std::uint64_t> digests_; // by page address
};

} // namespace rrpcp::replay
