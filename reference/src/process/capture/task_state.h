// What a checkpoint says of one thread.
#pragma once

#include "process/capture/scratch_memory.h"
#include "process/proc_status.h"
#include "process/tracee.h"
#include "rrpcp/schema/task.capnp.h"

#include <functional>
#include <vector>

namespace rrpcp::process::capture {

// Collects a thread in an event stop: registers, signal mask, pending signals, rseq, robust list,
// thread areas, and through system calls that the thread makes itself (capabilities of the kernel's
// CONFIG_CHECKPOINT_RESTORE) clear_child_tid, the alternate signal stack and the parent-death
// signal, credentials and attributes. Sets every field of `task` but the indices of what it shares.
// `more` is asked while the thread makes calls anyway. Throws Error.
void collect_task(Tracee& thread, const ProcStatus& status, const CallSite& site,
                  ScratchMemory& scratch, schema::Task::Builder task,
                  const std::function<void(RemoteCalls&)>& more);
// The same for a thread of a replay. What waits in its queues, and the parent-death signal, are
// not the program's: they are left out.
void collect_supervised_task(Tracee& thread, const ProcStatus& status, const CallSite& site,
                             ScratchMemory& scratch, schema::Task::Builder task);
// The same for one that stands at the end of its execve(2): it makes no call.
void collect_executed_task(Tracee& thread, const ProcStatus& status, schema::Task::Builder task);

// Signals of one queue, in its order; `pending` are the bits that the kernel shows for it: a signal
// without an entry in the queue (the kernel had no memory for one) is told by its number alone.
std::vector<SignalInfoBytes> complete_queue(std::vector<SignalInfoBytes> queued,
                                            std::uint64_t pending);

// Writes signals into a list that has room for them.
void set_signals(capnp::List<schema::SignalInfo>::Builder out,
                 const std::vector<SignalInfoBytes>& signals);

} // namespace rrpcp::process::capture
