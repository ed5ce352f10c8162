// What a checkpoint says of one process (thread group).
#pragma once

#include "process/capture/refusals.h"
#include "process/capture/scratch_memory.h"
#include "process/proc_status.h"
#include "process/tracee.h"
#include "rrpcp/schema/task.capnp.h"

#include <sys/types.h>

namespace rrpcp::process::capture {

// Collects what threads of a process have in common but their memory, files and signal handlers:
// ids, credentials, limits, signals pending for the process, timers. `thread` is one of its
// threads, in an event stop, `status` that thread's. Sets every field of `process`. Throws Error.
void collect_process(Tracee& thread, const ProcStatus& status, const CallSite& site,
                     ScratchMemory& scratch, Refusals& refusals, schema::Process::Builder process);

// Sets the arguments with which a process was started (/proc/PID/cmdline), for people.
void collect_command_line(pid_t tid, schema::Process::Builder process);

// Asks a thread for the dispositions of all signals and sets those that differ from the default. A
// copy of the process (fork(2)) answers as well as the process itself.
void collect_signal_handlers(RemoteCalls& calls, ScratchMemory& scratch,
                             schema::SignalHandlerTable::Builder table);
// The same of a program that has just been executed: what is not ignored (bit N-1: signal N) has
// its default action.
void describe_ignored_signals(std::uint64_t ignored, schema::SignalHandlerTable::Builder table);

} // namespace rrpcp::process::capture
