// /proc/PID/maps.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

namespace rrpcp::process {

// What the kernel puts behind the path of a file that has none any more (proc_pid_maps(5)).
inline constexpr std::string_view kDeleted = " (deleted)";
// A name without what the kernel adds to that of a file that was removed.
inline std::string without_deleted(std::string name) {
  if (name.ends_with(kDeleted)) {
    name.resize(name.size() - kDeleted.size());
  }
  return name;
}

// One line of proc_pid_maps(5).
struct ProcMapping {
  std::uint64_t start = 0;
  std::uint64_t end = 0;
  // PROT_* bits.
  std::uint32_t protection = 0;
  bool shared = false;
  // Bytes.
  std::uint64_t offset = 0;
  // As st_dev of stat(2) has it (makedev(3)), but of the file system's super block: btrfs and
  // overlayfs show other numbers to stat(2).
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  // Path, "[heap]", "[stack]", "[vdso]" …, with the kernel's " (deleted)" and with "\012" for line
  // feeds; empty for anonymous memory.
  std::string name;

  std::uint64_t length() const { return end - start; }
  bool contains(std::uint64_t address) const { return start <= address && address < end; }

  bool operator==(const ProcMapping&) const = default;
};

// Parses one line without its line feed. Throws Error(kInternal).
ProcMapping parse_mapping(std::string_view line);
std::vector<ProcMapping> parse_mappings(std::string_view text);
// In order of address. Throws kProcessGone where the process is gone.
std::vector<ProcMapping> read_mappings(pid_t pid);
// Those that meet [start, end): where the kernel can be asked for them (PROCMAP_QUERY, Linux 6.11),
// in time by their number, else as above.
std::vector<ProcMapping> read_mappings(pid_t pid, std::uint64_t start, std::uint64_t end);

} // namespace rrpcp::process
