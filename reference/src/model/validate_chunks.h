// Judging page data: every chunk's checksums.
#pragma once

#include "base/sha256.h"
#include "model/byte_source.h"
#include "model/findings.h"
#include "rrpcp/reader.h"

#include <cstdint>
#include <span>
#include <vector>

namespace rrpcp {

// The last page of a memory object: bytes from `used` to the page's end must be zero.
struct PageTail {
  std::uint64_t page; // in the page stream
  std::uint32_t used; // bytes
  std::string path;   // of the object
};

// Reads, hashes and decodes every chunk, on `options.threads` threads. `tails` are ordered by page.
// `seal` has a digest for each chunk, or none at all.
// Returns the number of decoded bytes. Throws what ByteSource::read throws.
std::uint64_t validate_chunks(const ByteSource& source, const Header& header,
                              std::span<const ChunkEntry> chunks, std::span<const PageTail> tails,
                              std::span<const Sha256Digest> seal, const ValidateOptions& options,
                              Findings& findings);

} // namespace rrpcp
