// The bytes of page runs: reading them by segment, and digests of them.
#pragma once

#include "pcp-inspect/segments.h"
#include "rrpcp/reader.h"

#include <cstddef>
#include <list>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace rrpcp::tools {

// Pages of the page stream, with decoded chunks kept in bounded memory (some 16 MiB, or four
// chunks). One thread at a time; the reader must outlive it.
class StreamPages {
public:
  explicit StreamPages(const CheckpointReader& reader);

  // Bytes of pages from `page` on: at least one page, at most `count`, as far as one chunk reaches.
  // Valid until the next call. Throws Error for damage and for pages beyond the end of the stream.
  std::span<const std::byte> pages(std::uint64_t page, std::uint64_t count);

private:
  struct Chunk {
    std::uint64_t index;
    std::vector<std::byte> bytes;
  };

  const CheckpointReader& reader_;
  std::size_t capacity_;
  std::list<Chunk> chunks_; // most recently used first
  std::map<std::uint64_t, std::list<Chunk>::iterator> by_index_;
};

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
