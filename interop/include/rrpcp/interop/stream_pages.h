// Pages of the page streams of a checkpoint and its bases, by number.
#pragma once

#include "rrpcp/reader.h"

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <span>
#include <utility>
#include <vector>

namespace rrpcp {

// Pages of the page stream and of those of its bases, with decoded chunks kept in bounded memory
// (some 16 MiB, or four chunks). One thread at a time; the reader must outlive it.
class StreamPages {
public:
  explicit StreamPages(const CheckpointReader& reader);

  // Bytes of pages from `page` on of the stream of base `base`, or of the file's own (noIndex): at
  // least one page, at most `count`, as far as one chunk reaches. Valid until the next call. Throws
  // Error for damage and for pages beyond the end of the stream.
  std::span<const std::byte> pages(std::uint32_t base, std::uint64_t page, std::uint64_t count);

private:
  using Key = std::pair<std::uint32_t, std::uint64_t>; // base, index of the chunk
  struct Chunk {
    Key key;
    std::vector<std::byte> bytes;
  };

  const CheckpointReader& reader_;
  std::size_t capacity_;
  std::list<Chunk> chunks_; // most recently used first
  std::map<Key, std::list<Chunk>::iterator> by_key_;
};

} // namespace rrpcp
