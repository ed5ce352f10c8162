// The one place where it is said what system calls do: of each call of x86-64 its name and number,
// what it reads and writes, what it changes of files, what a replay makes of it, and what is
// refused.
#pragma once

#include "trace/call_row.h"
#include "trace/system_call.h"

#include <span>
#include <string>

namespace rrpcp::trace {

// All rows, by number; of one number those with a selector first. Numbers and names from the
// kernel's arch/x86/entry/syscalls/syscall_64.tbl up to Linux 6.18.
std::span<const CallRow> call_rows();

// The row of a call. What none fits gets one that says that all pages have to be compared.
const CallRow& call_row(const SystemCall& call);

// "openat", or "system call 512" for a number without a row.
std::string system_call_name(long number);

} // namespace rrpcp::trace
