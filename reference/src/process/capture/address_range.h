// A range of addresses.
#pragma once

#include <cstdint>

namespace rrpcp::process::capture {

// Addresses [start, end).
struct AddressRange {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
};

} // namespace rrpcp::process::capture
