// /proc/PID/auxv.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace rrpcp::process {

// An entry of the auxiliary vector of a 64-bit process (getauxval(3)).
struct AuxvEntry {
  std::uint64_t type = 0;
  std::uint64_t value = 0;
};

// In order, without the closing AT_NULL. Throws kProcessGone where the process is gone.
std::vector<AuxvEntry> read_auxv(pid_t pid);
std::vector<AuxvEntry> parse_auxv(std::string_view bytes);
// The value of the first entry of `type`.
std::optional<std::uint64_t> find_auxv(const std::vector<AuxvEntry>& entries, std::uint64_t type);

} // namespace rrpcp::process
