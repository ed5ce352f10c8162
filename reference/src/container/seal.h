// The seal: strong digests of what a checkpoint stores (spec/format.md, "Seal").
#pragma once

#include "base/sha256.h"
#include "rrpcp/schema/manifest.capnp.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace rrpcp {

// SHA-256 of the state's canonical form: the bytes that the checkpoint id begins with.
Sha256Digest state_sha256(schema::State::Reader state);

// The section's bytes.
std::vector<std::byte> encode_seal(const Sha256Digest& state, std::span<const Sha256Digest> chunks);

struct Seal {
  Sha256Digest state{};
  std::vector<Sha256Digest> chunks;
};

// What a seal of algorithm 1 says; nothing where its form is wrong: it has another length, or
// reserved bytes that are not zero.
std::optional<Seal> decode_seal(std::span<const std::byte> bytes, std::uint64_t chunk_count);

} // namespace rrpcp
