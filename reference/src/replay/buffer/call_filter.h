// Which system calls of recorded programs stop at their entry.
#pragma once

namespace rrpcp::replay::buffer {

// Has the kernel tell the tracer (PTRACE_EVENT_SECCOMP) of each system call of the calling process
// and of its children from now on, but for those that the code of the area makes (buffer_abi.h).
// Only makes system calls, for use between fork(2) and execve(2). False where the kernel does not
// do that, or there is a filter already, which might keep a call from the tracer. seccomp(2): needs
// CAP_SYS_ADMIN, or sets PR_SET_NO_NEW_PRIVS, which a traced process loses nothing by (execve(2)
// gives it no privileges).
bool install_call_filter();

} // namespace rrpcp::replay::buffer
