// What the kernel would undo of System V semaphores at the end of a process (semop(2), SEM_UNDO).
#pragma once

#include "process/capture/scratch_memory.h"

#include <sys/types.h>

namespace rrpcp::process::capture {

enum class SemaphoreUndo {
  kNone,
  kPossible, // it can be neither known nor excluded
  kCertain,
};

// Whether a thread has a list of undo values at all: a process gets one with its first operation
// that may be undone, and with its first thread that shares one (CLONE_SYSVSEM). `child` is a
// process of ours that has none, or 0. True where the kernel cannot say (kcmp(2)).
bool has_undo_list(pid_t tid, pid_t child);

// Looks for a value in the list of the thread, which is in the IPC namespace of this process. The
// kernel shows none of them, but refuses operations that would lead one out of its range: so the
// thread asks for operations of which the last cannot be done, so that none of them is (semop(2):
// all or nothing), and which of two errors comes says on which side of zero the value is. Throws
// Error.
SemaphoreUndo find_semaphore_undo(RemoteCalls& calls, ScratchMemory& scratch);

} // namespace rrpcp::process::capture
