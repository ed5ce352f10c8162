// What the kernel keeps of a thread beside ids, registers, signals and credentials.
#pragma once

#include "process/capture/scratch_memory.h"
#include "process/proc_status.h"
#include "process/tracee.h"
#include "rrpcp/schema/task.capnp.h"

#include <cstdint>

namespace rrpcp::process::capture {

// What is asked of the thread from outside. `thread` is in an event stop in which no system call
// was made for us yet. Sets the fields that collect_asked_attributes() does not. Throws Error.
void collect_seen_attributes(const Tracee& thread, const ProcStatus& status,
                             schema::TaskAttributes::Builder out);

// What only the thread itself can ask. Sets PR_MCE_KILL_GET, PR_GET_IO_FLUSHER, PR_GET_TSC,
// ARCH_GET_CPUID, PR_GET_SPECULATION_CTRL, get_mempolicy(2) and what a confinement by landlock(7)
// shows of itself. Throws Error.
void collect_asked_attributes(RemoteCalls& calls, ScratchMemory& scratch, const ProcStatus& status,
                              schema::TaskAttributes::Builder out);

// prctl(2) PR_GET_SECUREBITS of the thread.
std::uint32_t ask_securebits(RemoteCalls& calls);

} // namespace rrpcp::process::capture
