// A place in a stream of compressed blocks.
#pragma once

#include "rrpcp/export.h"

#include <cstdint>

namespace RRPCP_PUBLIC rrpcp {

// A place in one of a trace's streams, as schema::StreamCursor stores it. Value type.
struct StreamPosition {
  // Byte offset of the block's header in the stream's file.
  std::uint64_t block_offset = 0;
  // Decoded bytes of that block to skip.
  std::uint64_t offset_in_block = 0;
  // Decoded bytes of the stream before this place.
  std::uint64_t decoded_offset = 0;

  bool operator==(const StreamPosition&) const = default;
};

} // namespace rrpcp
