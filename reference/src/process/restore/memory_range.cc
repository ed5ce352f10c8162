#include "process/restore/memory_range.h"

#include "rrpcp/error.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>

namespace rrpcp::process::restore {

namespace {

// Room that is left around a gap, so that stacks nearby may grow.
constexpr std::uint64_t kMargin = std::uint64_t{16} << 20;
// The search begins here: above programs linked to fixed addresses.
constexpr std::uint64_t kLowest = std::uint64_t{1} << 32;
// End of the user half of a four-level x86-64 address space.
constexpr std::uint64_t kHighest = (std::uint64_t{1} << 47) - 4096;

} // namespace

std::string range_text(const MemoryRange& range) {
  char text[64];
  std::snprintf(text, sizeof text, "0x%" PRIx64 "-0x%" PRIx64, range.start, range.end);
  return text;
}

std::uint64_t find_gap(std::vector<MemoryRange> taken, std::uint64_t size) {
  std::sort(taken.begin(), taken.end(),
            [](const MemoryRange& a, const MemoryRange& b) { return a.start < b.start; });
  taken.push_back({kHighest, kHighest});
  std::uint64_t free_from = kLowest;
  for (const MemoryRange& range : taken) {
    if (range.start > free_from && range.start - free_from >= size + 2 * kMargin) {
      return free_from + kMargin;
    }
    free_from = std::max(free_from, range.end);
    if (free_from >= kHighest) {
      break;
    }
  }
  throw Error(ErrorCode::kLimit, "the address space has no gap of " + std::to_string(size) +
                                     " bytes for the restorer");
}

} // namespace rrpcp::process::restore
