// What the kernel keeps of a thread besides its registers, set by system calls that it makes.
#pragma once

#include "process/tracee.h"
#include "rrpcp/reader.h"

#include <cstdint>
#include <optional>

namespace rrpcp::replay {

// Gives a stopped thread the alternate stack, name, exit address, robust list, rseq area and, with
// `dispositions`, the signal dispositions of task `task` of State.tasks; then its registers and
// signal mask. `instruction`: address of a `syscall` instruction in its memory, if there is one.
// Throws Error.
void set_stored_thread(process::Tracee& thread, const CheckpointReader& reader, std::uint32_t task,
                       std::optional<std::uint64_t> instruction, bool dispositions);

} // namespace rrpcp::replay
