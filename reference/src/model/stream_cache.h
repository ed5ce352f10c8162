// Pages of page streams, with decoded chunks kept.
#pragma once

#include "rrpcp/reader.h"

#include <cstddef>
#include <cstdint>
#include <list>
#include <span>
#include <vector>

namespace rrpcp {

// Keeps the chunks that were used last, of any number of checkpoints, which must outlive it: some
// 4 MiB of chunks of the usual size. One thread at a time.
class StreamCache {
public:
  // Bytes of pages of `source` from `page` on: at least one page, at most `count`, as far as one
  // chunk reaches. Decoded and verified; valid until the next call. Throws Error for damage, and
  // kDamaged for pages beyond the end of the stream.
  std::span<const std::byte> pages(const CheckpointReader& source, std::uint64_t page,
                                   std::uint64_t count);

private:
  struct Chunk {
    const CheckpointReader* source;
    std::uint64_t index;
    std::vector<std::byte> bytes;
  };

  std::span<const std::byte> chunk(const CheckpointReader& source, std::uint64_t index);

  std::list<Chunk> chunks_; // most recently used first
};

} // namespace rrpcp
