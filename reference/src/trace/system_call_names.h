// Names of x86-64 system calls, for people.
#pragma once

#include <string>

namespace rrpcp {

// "openat", or "system call 512" for a number without a name. From the kernel's
// arch/x86/entry/syscalls/syscall_64.tbl up to Linux 6.17.
std::string system_call_name(long number);

} // namespace rrpcp
