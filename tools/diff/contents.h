// The bytes of page runs: digests of them.
#pragma once

#include "rrpcp/interop/segments.h"
#include "rrpcp/interop/stream_pages.h"

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace rrpcp::tools {

// Digest of what a mapping or memory object stores (spec/inspect-json.md, "Contents").
struct ContentDigest {
  // Pages that are stored and not all zero.
  std::uint64_t pages = 0;
  // 32 hexadecimal digits.
  std::string digest;
};

// Digest of the kStream and kZero pages of `segments`.
ContentDigest digest_contents(StreamPages& stream, const std::vector<Segment>& segments,
                              std::uint64_t page_size);

// Whether all bytes are 0.
bool all_zero(std::span<const std::byte> bytes);

} // namespace rrpcp::tools
