// Carrying out an instruction for a recorded program.
#pragma once

#include "process/tracee.h"
#include "replay/engine/trapped_instructions.h"

#include <optional>
#include <sys/user.h>

namespace rrpcp::replay {

// The registers of `task`, which stands at the instruction with `before`, after it. Nothing where
// this processor does not have the instruction, or faults: RDRAND and RDSEED where CPUID does not
// have them, XGETBV of a register that does not exist. Throws Error.
std::optional<user_regs_struct> carry_out(const TrappedCode& code, const user_regs_struct& before,
                                          const Tracee& task);

} // namespace rrpcp::replay
