// rr's raw ReplayTraceStep and the model's ReplayStep.
#pragma once

#include "rrpcp/compat/legacy.h"
#include "rrpcp/schema/rr.capnp.h"

#include <array>
#include <cstddef>
#include <span>

namespace rrpcp::compat {

// Bytes of the structure in every known 64-bit build of rr: the action (32 bits), four bytes of
// padding, and a union of 24 bytes.
inline constexpr std::size_t kReplayStepSize = 32;

// Takes the structure apart. Actions are numbered in the order of rr's enumeration; number 9 has
// another meaning in rr-2022. Returns false, and sets nothing, for an unknown action.
bool decode_replay_step(std::span<const std::byte, kReplayStepSize> bytes, Generation generation,
                        schema::rr::ReplayStep::Builder out);

// The reverse; bytes that belong to no field are zero. `generation` numbers the action. Returns
// false where the generation has no such action.
bool encode_replay_step(schema::rr::ReplayStep::Reader in, Generation generation,
                        std::array<std::byte, kReplayStepSize>& bytes);

} // namespace rrpcp::compat
