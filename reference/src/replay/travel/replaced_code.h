// What the recording has replaced in the code of a replayed program.
#pragma once

#include "process/remote_memory.h"
#include "replay/engine/trapped_instructions.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <sys/types.h>

namespace rrpcp::replay {

using ReplacedBytes = std::array<std::byte, kUndefinedInstruction.size()>;

// The bytes in whose place `ud2` stands at `address`, as the mapped file has them. Nothing where it
// is the program's own `ud2`, or where the code was made by the program: then nobody knows. Throws
// Error where the process is gone.
std::optional<ReplacedBytes> replaced_at(pid_t pid, process::RemoteMemory& memory,
                                         std::uint64_t address);

} // namespace rrpcp::replay
