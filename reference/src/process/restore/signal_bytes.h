// siginfo_t as bytes.
#pragma once

#include "rrpcp/schema/task.capnp.h"

#include <array>
#include <cstddef>

namespace rrpcp::process::restore {

// The kernel's 128 bytes on x86-64 (asm-generic/siginfo.h) for a stored signal.
using SignalBytes = std::array<std::byte, 128>;
SignalBytes signal_bytes(schema::SignalInfo::Reader info);

} // namespace rrpcp::process::restore
