// How the instructions that cannot be replayed are caught on this machine.
#pragma once

#include "rrpcp/schema/trace.capnp.h"

namespace rrpcp::replay {

// ARCH_SET_CPUID of asm/prctl.h, which the C library does not have.
inline constexpr long kSetCpuid = 0x1012;

struct InstructionTraps {
  // They are replaced in the program's memory: all, or those that the processor does not trap.
  bool trapped_too = true;
  // RDTSC and RDTSCP fault after prctl(2) PR_SET_TSC.
  bool counter = false;
  // CPUID faults after arch_prctl(2) ARCH_SET_CPUID.
  bool cpuid = false;

  // Whether the processor traps it.
  bool processor_traps(schema::TrappedInstruction instruction) const;
};

// What the processor traps, tried: takes about a millisecond.
InstructionTraps processor_traps();

// The same, as a recording uses it. The environment variable RRPCP_TRAPS restricts the result:
// "replace" as if no processor trapped anything, "processor" so that nothing is replaced that the
// processor traps. Throws Error: kInvalidArgument for another value, kUnsupportedState for
// "processor" where it does not trap RDTSC.
InstructionTraps instruction_traps();

} // namespace rrpcp::replay
