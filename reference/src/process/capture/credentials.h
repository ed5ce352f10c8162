// Whose rights a thread has.
#pragma once

#include "process/proc_status.h"
#include "rrpcp/schema/task.capnp.h"

#include <cstdint>

namespace rrpcp::process::capture {

// Sets every field of `out`: credentials(7) and capabilities(7) as /proc/PID/status shows them,
// `securebits` by prctl(2) PR_GET_SECUREBITS, the security label by /proc/PID/attr/current.
void collect_credentials(const ProcStatus& status, std::uint32_t securebits,
                         schema::Credentials::Builder out);

} // namespace rrpcp::process::capture
