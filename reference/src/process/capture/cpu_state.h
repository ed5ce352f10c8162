// What a captured state expects of the processor.
#pragma once

#include "process/proc_auxv.h"
#include "rrpcp/schema/state.capnp.h"

#include <vector>

namespace rrpcp::process::capture {

// Fills `cpu` for tasks that ran on this machine: state components in use, their places in an XSAVE
// area, feature bits, AT_HWCAP. `state` must have its tasks. The CPUID leaves hold feature words
// only, 0 in the others: a restoring machine needs every bit that is set there to be sure that the
// program finds the instructions that it has chosen to use.
void collect_cpu(schema::State::Reader state, const std::vector<AuxvEntry>& auxv,
                 schema::Cpu::Builder cpu);

} // namespace rrpcp::process::capture
