#include "process/proc_auxv.h"

#include "process/proc_file.h"

#include <cstring>
#include <elf.h>

namespace rrpcp::process {

std::vector<AuxvEntry> parse_auxv(std::string_view bytes) {
  std::vector<AuxvEntry> entries;
  for (; bytes.size() >= sizeof(AuxvEntry); bytes.remove_prefix(sizeof(AuxvEntry))) {
    AuxvEntry entry;
    std::memcpy(&entry, bytes.data(), sizeof entry);
    if (entry.type == AT_NULL) {
      break;
    }
    entries.push_back(entry);
  }
  return entries;
}

std::vector<AuxvEntry> read_auxv(pid_t pid) {
  return parse_auxv(read_proc_file(proc_path(pid, "auxv")));
}

std::optional<std::uint64_t> find_auxv(const std::vector<AuxvEntry>& entries, std::uint64_t type) {
  for (const AuxvEntry& entry : entries) {
    if (entry.type == type) {
      return entry.value;
    }
  }
  return std::nullopt;
}

} // namespace rrpcp::process
