// Operations on System V semaphores that the end of a process undoes (semop(2), SEM_UNDO).
#pragma once

#include <sys/types.h>

namespace rrpcp::capture {

enum class SemaphoreUndo { kNone, kPossible, kCertain };

// The kernel does not tell them. But it tells whether two processes share their list of them
// (kcmp(2)): one that has no list is equal to `child`, a process that has none. Processes with
// threads always have a list; for those, whether one of the semaphores was last changed by the
// process is what can be known.
SemaphoreUndo find_semaphore_undo(pid_t pid, bool has_threads, pid_t child);

} // namespace rrpcp::capture
