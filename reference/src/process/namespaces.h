// Which namespaces(7) a thread is in, and what tells one start of the machine from another.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <sys/types.h>
#include <vector>

namespace rrpcp::process {

// The kinds, as the entries of /proc/PID/ns are called.
enum class NamespaceKind : std::uint8_t {
  kUser,
  kMount,
  kPid,
  kPidForChildren,
  kTime,
  kTimeForChildren,
  kInterProcess,
  kNetwork,
  kHostName,
  kControlGroup,
};
inline constexpr std::size_t kNamespaceKinds = 10;
extern const std::array<const char*, kNamespaceKinds> kNamespaceNames;

struct NamespaceId {
  std::uint64_t device = 0;
  std::uint64_t inode = 0; // 0: the kernel has no such namespaces, or does not tell

  bool operator==(const NamespaceId&) const = default;
};
using NamespaceIds = std::array<NamespaceId, kNamespaceKinds>;

// Those of a thread of a process; of the calling thread with 0. Throws kProcessGone.
NamespaceIds read_namespaces(pid_t pid, pid_t tid);

// Nanoseconds that the time namespace of the children of a process adds to the machine's clocks
// (time_namespaces(7)).
struct ClockOffsets {
  std::int64_t monotonic = 0;
  std::int64_t boottime = 0;
};
// Of the calling thread with 0.
ClockOffsets read_clock_offsets(pid_t pid);

// The 16 bytes of /proc/sys/kernel/random/boot_id; empty where it cannot be read.
std::vector<std::byte> read_boot_id();

} // namespace rrpcp::process
