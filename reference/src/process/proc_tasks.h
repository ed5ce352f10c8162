// Threads and children of a process.
#pragma once

#include <sys/types.h>
#include <vector>

namespace rrpcp::process {

// Thread ids in ascending order (/proc/PID/task); empty where there is no such process.
std::vector<pid_t> read_thread_ids(pid_t pid);
// Processes whose parent is a thread of `pid`, in ascending order.
std::vector<pid_t> read_children(pid_t pid);

} // namespace rrpcp::process
