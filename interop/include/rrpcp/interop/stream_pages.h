// Pages of a checkpoint's page stream, by number.
#pragma once

#include "rrpcp/reader.h"

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <span>
#include <vector>

namespace rrpcp {

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

} // namespace rrpcp
