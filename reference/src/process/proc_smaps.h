// /proc/PID/smaps.
#pragma once

#include "process/proc_maps.h"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace rrpcp::process {

// A mapping with what proc_pid_smaps(5) adds, as far as a checkpoint needs it.
struct ProcMemoryArea {
  ProcMapping mapping;
  // Bytes of pages of its own that the process has, in memory and swapped out.
  std::uint64_t anonymous = 0;
  std::uint64_t swapped = 0;
  // Bytes of a page: larger ones are hugetlbfs.
  std::uint64_t page_size = 0;
  std::uint16_t protection_key = 0;
  // The two-letter flags of VmFlags, with blanks between: "rd wr mr mw me ac ".
  std::string flags;

  bool has_flag(std::string_view name) const;
};

// In order of address. Takes time that grows with the memory that the process uses. Throws
// kProcessGone, kPermission.
std::vector<ProcMemoryArea> read_memory_areas(pid_t pid);
std::vector<ProcMemoryArea> parse_memory_areas(std::string_view text);

} // namespace rrpcp::process
