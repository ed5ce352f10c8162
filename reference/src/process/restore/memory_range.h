// Half-open ranges of addresses.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace rrpcp::process::restore {

struct MemoryRange {
  std::uint64_t start = 0;
  // One past the last address.
  std::uint64_t end = 0;

  std::uint64_t length() const { return end - start; }
  bool operator==(const MemoryRange&) const = default;
};

// "0x1000-0x3000".
std::string range_text(const MemoryRange& range);

// Start of a page-aligned gap of `size` bytes between `taken` (in any order, overlaps allowed),
// below 2^47 and away from where the kernel places a program, its heap and its stack. Throws
// Error(kLimit) where there is none.
std::uint64_t find_gap(std::vector<MemoryRange> taken, std::uint64_t size);

} // namespace rrpcp::process::restore
