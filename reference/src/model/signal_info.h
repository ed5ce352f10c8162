// The kernel's siginfo_t and the model's SignalInfo.
#pragma once

#include "rrpcp/schema/task.capnp.h"

#include <array>
#include <cstddef>
#include <span>

namespace rrpcp {

// Bytes of siginfo_t on a 64-bit machine.
inline constexpr std::size_t kSiginfoSize = 128;

// Takes a siginfo_t of a 64-bit machine apart (sigaction(2)). `raw` is set where the fields do not
// reproduce the bytes.
void decode_siginfo(std::span<const std::byte, kSiginfoSize> bytes,
                    schema::SignalInfo::Builder out);

// The reverse: `raw` where it is present (it counts then), else from the fields.
std::array<std::byte, kSiginfoSize> encode_siginfo(schema::SignalInfo::Reader in);

} // namespace rrpcp
