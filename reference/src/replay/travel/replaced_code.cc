#include "replay/travel/replaced_code.h"

#include "base/scoped_fd.h"
#include "process/proc_maps.h"

#include <algorithm>
#include <fcntl.h>
#include <span>
#include <unistd.h>

namespace rrpcp::replay {

std::optional<ReplacedBytes> replaced_at(pid_t pid, process::RemoteMemory& memory,
                                         std::uint64_t address) {
  ReplacedBytes now{};
  if (memory.read_some(address, now) != now.size() || now != kUndefinedInstruction) {
    return std::nullopt;
  }
  for (const process::ProcMapping& mapping : process::read_mappings(pid)) {
    if (!mapping.contains(address) || mapping.inode == 0) {
      continue;
    }
    const ScopedFd file(::open(mapping.name.c_str(), O_RDONLY | O_CLOEXEC));
    std::array<std::byte, kLongestInstruction> code{};
    const ssize_t length =
        file ? ::pread(file.get(), code.data(), code.size(),
                       static_cast<off_t>(mapping.offset + (address - mapping.start)))
             : 0;
    if (length > 0 && decode_trapped(std::span(code).first(static_cast<std::size_t>(length)))) {
      ReplacedBytes original{};
      std::copy_n(code.begin(), original.size(), original.begin());
      return original;
    }
  }
  return std::nullopt;
}

} // namespace rrpcp::replay
