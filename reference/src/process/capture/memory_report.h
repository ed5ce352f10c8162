// What the kernel tells of a process's mappings only by going through all of its pages, and how
// that is avoided.
#pragma once

#include "process/mapping_words.h"
#include "process/memory_policy.h"
#include "process/proc_smaps.h"

#include <cstdint>
#include <future>
#include <map>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace rrpcp::process::capture {

struct MemoryReport {
  std::vector<ProcMemoryArea> areas;
  std::map<std::uint64_t, MemoryPolicy> policies; // by the start of the mapping
  // The flags as the kernel keeps them; empty: it does not say.
  std::vector<MappingWord> words = {};
};

// /proc/PID/smaps and numa_maps. Throws Error.
MemoryReport read_memory_report(pid_t pid);

// Reports on one process time and again. The words of a mapping's flags (VmFlags) follow from the
// flags as the kernel keeps them: those that were once seen side by side need not be asked for
// again. Where the kernel does not show its own (MappingWords), all pages are gone through each
// time.
class MemoryReporter {
public:
  // Finds out what the kernel shows, in another thread.
  void prepare();

  // In the areas of a report that no page was gone through for, nothing but the mapping, its flags
  // and its protection key is said. Throws Error.
  MemoryReport read(pid_t pid);
  // While the process stands still, with the mappings that it has then: brings a report up to date
  // where flags have changed since it was made. False: all pages would have to be gone through for
  // that. Where the kernel does not show its flags, changes between the two moments are not seen.
  bool renew(pid_t pid, const std::vector<ProcMapping>& mappings, MemoryReport& report);

private:
  struct Words {
    std::string flags;
    std::uint16_t protection_key = 0;
  };

  std::optional<std::vector<MappingWord>> read_words(pid_t pid);
  void learn(const std::vector<MappingWord>& words, const std::vector<ProcMemoryArea>& areas);
  // Nothing where a flag was not seen before.
  std::optional<MemoryReport> from_words(const std::vector<ProcMapping>& mappings,
                                         std::vector<MappingWord> words) const;

  std::future<std::optional<MappingWords>> opening_;
  std::optional<MappingWords> source_;
  std::map<std::uint64_t, Words> known_;
  std::optional<Words> of_gate_; // of the page that the kernel has outside of all address spaces
};

} // namespace rrpcp::process::capture
