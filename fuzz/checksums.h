// Making the checksums of a mutated file right again, so that the fuzzer gets past them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace rrpcp::fuzz {

// Recomputes, as far as the file's structure can be found at all: header checksum, digests of chunk
// table and manifest, checksums of chunks, copies in the footer, file length, footer checksum.
void repair_checksums(std::span<std::byte> file);

// A whole file of one small chunk around a manifest (without framing) and stored chunk bytes.
std::vector<std::byte> file_around(std::span<const std::byte> manifest_words,
                                   std::span<const std::byte> stored, std::uint16_t codec,
                                   std::uint32_t length);

} // namespace rrpcp::fuzz
