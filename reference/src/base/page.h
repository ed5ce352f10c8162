// The size of a page of the processes that live on this machine.
#pragma once

#include <cstdint>

namespace rrpcp {

// Bytes; of x86-64 (System V ABI, AMD64 supplement, section 3.3.2), whose processes alone are
// captured, recorded and replayed. Checkpoints and traces have the sizes of their own machines.
inline constexpr std::uint64_t kPage = 4096;

} // namespace rrpcp
