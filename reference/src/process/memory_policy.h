// NUMA memory policies: set_mempolicy(2), mbind(2).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace rrpcp::process {

// More nodes than a kernel has (CONFIG_NODES_SHIFT is at most 10).
inline constexpr std::size_t kMostMemoryNodes = 1024;

struct MemoryPolicy {
  // MPOL_* with its MPOL_F_* mode flags; 0 MPOL_DEFAULT.
  std::uint32_t mode = 0;
  // Bit N % 8 of byte N / 8 for node N, without zero bytes at the end.
  std::vector<std::byte> nodes;

  bool operator==(const MemoryPolicy&) const = default;
};

// What /proc/PID/numa_maps shows for a mapping: the rest of a line behind its address, as
// "bind=static:0-1 anon=1 …" (mpol_to_str of the kernel). Throws Error.
MemoryPolicy parse_memory_policy(std::string_view text);

// The policies that /proc/PID/numa_maps shows, by the start of the mapping; those that are the
// default are left out. Where a mapping has none of its own, the kernel shows that of the main
// thread. Empty where the kernel has no NUMA. Throws Error.
std::map<std::uint64_t, MemoryPolicy> read_memory_policies(pid_t pid);

} // namespace rrpcp::process
