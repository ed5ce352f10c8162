// Making a stop unnoticeable.
#pragma once

#include "process/remote_memory.h"
#include "process/tracee.h"

namespace rrpcp::process {

// Repairs what the kernel itself does not put right when a thread is stopped for a moment. To be
// called for every thread as soon as it is in an event stop, before anything else is done to it:
//
// - Some system calls (epoll_wait(2), semtimedop(2), sigtimedwait(2) and others of signal(7),
//   "Interruption of system calls by stop signals") fail with EINTR when their thread is stopped,
//   though no signal came. They are made to restart, which they then do unless a handler runs; a
//   time-out counts from the restart. Where the process had been stopped by a signal before, that
//   one has interrupted the call, and the program will see it.
// - A thread inside of a restartable sequence (rseq(2)) is moved to its abort handler, as the
//   kernel does with every thread that it has stopped inside of one. System calls that we make in
//   the thread would let the kernel forget about the sequence.
// - A call that was interrupted before gets its number again, see name_continued_call().
//
// `memory` is that of the thread's process. Throws Error.
void settle_stop(Tracee& tracee, RemoteMemory& memory);

// A thread that was stopped in nanosleep(2), poll(2) or their like and went on is inside of
// restart_syscall(2) afterwards, which works by a note in the kernel: in another process, or when
// the note is gone, the call fails with EINTR. Where the thread stands interrupted in one, or is
// about to enter it, its orig_rax becomes the number of the call itself, so that it can be entered
// anew; the kernel goes on by its note as before, as long as there is one. False: which call it is
// cannot be told. Throws Error.
bool name_continued_call(Tracee& tracee, RemoteMemory& memory);

} // namespace rrpcp::process
