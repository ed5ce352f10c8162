// Carrying out an instruction for a recorded program.
#pragma once

#include "process/tracee.h"
#include "replay/engine/cpuid_model.h"
#include "replay/engine/trapped_instructions.h"

#include <optional>
#include <sys/user.h>

namespace rrpcp::replay {

// What changes registers alone. The registers of `task`, which stands at the instruction with
// `before`, after it. Nothing where the processor of `model` does not have the instruction, or
// faults: RDRAND, RDSEED and RDPID where CPUID does not have them, XGETBV of a register that does
// not exist. Throws Error.
std::optional<user_regs_struct> carry_out(const TrappedCode& code, const user_regs_struct& before,
                                          const process::Tracee& task, const CpuidModel& model);

} // namespace rrpcp::replay
