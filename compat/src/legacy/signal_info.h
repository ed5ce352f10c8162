// The kernel's siginfo_t and the model's SignalInfo.
#pragma once

#include "rrpcp/schema/task.capnp.h"

#include <array>
#include <cstddef>
#include <span>

namespace rrpcp::compat {

// Bytes of siginfo_t (64-bit machines; rr keeps that form for 32-bit tasks too).
inline constexpr std::size_t kSiginfoSize = 128;

// Takes a siginfo_t of a 64-bit machine apart (sigaction(2)). `raw` is set where the fields do not
// reproduce the bytes.
void decode_siginfo(std::span<const std::byte, kSiginfoSize> bytes,
                    schema::SignalInfo::Builder out);

// The reverse, from the fields alone.
std::array<std::byte, kSiginfoSize> encode_siginfo(schema::SignalInfo::Reader in);

} // namespace rrpcp::compat
