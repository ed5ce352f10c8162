// The manifest as bytes: canonical form, its safety check, and the checkpoint id.
#pragma once

#include "rrpcp/checkpoint_id.h"
#include "rrpcp/reader.h"

#include <capnp/common.h>
#include <kj/array.h>
#include <optional>
#include <span>
#include <string>

namespace rrpcp {

// The manifest message of a file, framed, in canonical form.
kj::Array<capnp::word> manifest_message(schema::Manifest::Reader manifest);

// A state as a message of its own, without framing, in canonical form: what ids and seals cover.
kj::Array<capnp::word> canonical_state(schema::State::Reader state);

// The id of a state with these chunks (spec/format.md, "Checkpoint id").
CheckpointId checkpoint_id(schema::State::Reader state, std::span<const ChunkEntry> chunks);

// What is wrong with a message's layout, and at which byte of the message.
struct LayoutProblem {
  std::string what;
  std::uint64_t offset;
};

// Checks that a framed message consists of one segment whose objects lie one after the other, in
// the order in which a depth-first walk meets them, each inside the segment, none of them twice.
// After that, reading the message costs no more than its size, whoever made it. Works on the
// pointers alone: a list of structs without pointers costs the same whatever its length.
std::optional<LayoutProblem> check_layout(std::span<const std::byte> message);

} // namespace rrpcp
