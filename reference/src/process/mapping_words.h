// The flags of a process's mappings as the kernel keeps them.
#pragma once

#include "base/scoped_fd.h"

#include <cstdint>
#include <optional>
#include <sys/types.h>
#include <vector>

namespace rrpcp::process {

// What the kernel tells of a mapping in words (/proc/PID/smaps, numa_maps) only by going through
// all of its pages.
struct MappingWord {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  // A bit for each flag; which, is the kernel's own business. Equal ones have equal VmFlags and
  // protection keys in smaps.
  std::uint64_t flags = 0;
  // The mapping may have a memory policy (mbind(2)) of its own: it has one, or is of an object that
  // may.
  bool policy = false;

  bool operator==(const MappingWord&) const = default;
};

// Reads them by a program for the kernel's iterator over mappings (BPF, "task_vma", Linux 6.1),
// made for the running kernel: in microseconds, whatever the size of the process. It reads four
// fields of each mapping and nothing else. Needs CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN. One
// thread at a time.
class MappingWords {
public:
  // Nothing: the kernel or our rights do not allow it. Takes some milliseconds.
  static std::optional<MappingWords> open();

  // In order of address. Nothing where the kernel does not say.
  std::optional<std::vector<MappingWord>> read(pid_t pid) const;

private:
  explicit MappingWords(ScopedFd program) : program_(std::move(program)) {}

  ScopedFd program_;
};

} // namespace rrpcp::process
