#include "container/seal.h"

#include "base/bytes.h"
#include "container/manifest_bytes.h"
#include "rrpcp/format.h"

#include <cstring>

namespace rrpcp {

using namespace format;

Sha256Digest state_sha256(schema::State::Reader state) {
  const kj::Array<capnp::word> canonical = canonical_state(state);
  return sha256(std::as_bytes(std::span(canonical.begin(), canonical.size())));
}

std::vector<std::byte> encode_seal(const Sha256Digest& state,
                                   std::span<const Sha256Digest> chunks) {
  std::vector<std::byte> bytes(kSealChunks + chunks.size() * sizeof(Sha256Digest));
  std::span<std::byte> out(bytes);
  store_le<std::uint32_t>(out, kSealAlgorithm, kSealSha256);
  store_le(out, kSealState, state);
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    store_le(out, kSealChunks + i * sizeof(Sha256Digest), chunks[i]);
  }
  return bytes;
}

std::optional<Seal> decode_seal(std::span<const std::byte> bytes, std::uint64_t chunk_count) {
  if (bytes.size() < kSealChunks || (bytes.size() - kSealChunks) % sizeof(Sha256Digest) != 0 ||
      (bytes.size() - kSealChunks) / sizeof(Sha256Digest) != chunk_count ||
      load_le<std::uint32_t>(bytes, kSealReserved) != 0) {
    return std::nullopt;
  }
  Seal seal;
  seal.state = load_le<Sha256Digest>(bytes, kSealState);
  seal.chunks.resize(chunk_count);
  for (std::size_t i = 0; i < chunk_count; ++i) {
    seal.chunks[i] = load_le<Sha256Digest>(bytes, kSealChunks + i * sizeof(Sha256Digest));
  }
  return seal;
}

} // namespace rrpcp
