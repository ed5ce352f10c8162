// One stream of a trace: blocks of Brotli, each behind its compressed and its decoded length.
#pragma once

#include "base/scoped_fd.h"
#include "rrpcp/compat/rr_trace.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace rrpcp::compat {

// Sequential reader; decodes one block at a time. Throws Error(kDamaged) for a block that does not
// decode, kIncomplete for a file that ends within one, kLimit for one that is too long. Not
// thread-safe.
class BlockStream {
public:
  BlockStream(std::string path, const RrTraceLimits& limits);

  const std::string& path() const { return path_; }
  // Whether no byte is left. Decodes the next block where the present one is used up.
  bool at_end();
  // The undecoded rest of the present block; empty only at the end. Valid until the next call.
  std::span<const std::byte> buffer();
  // Passes over `count` bytes; blocks that lie wholly in between are not decoded.
  void skip(std::uint64_t count);
  // Fills `out`; fewer bytes only at the end.
  std::size_t read(std::span<std::byte> out);
  // Where the next byte is. At the end of a block that is the start of the next one.
  StreamPosition position();
  // Goes to a place that position() gave, or one read from a file: it is checked.
  void seek(const StreamPosition& position);

private:
  struct BlockHeader {
    std::uint32_t stored = 0;
    std::uint32_t decoded = 0;
  };

  // Reads the header at next_offset_; false at the end of the file.
  bool read_header(BlockHeader& header);
  void decode(const BlockHeader& header);
  // Moves on to the next block and decodes it; false at the end.
  bool next_block();

  std::string path_;
  RrTraceLimits limits_;
  ScopedFd fd_;
  std::uint64_t file_size_ = 0;
  std::uint64_t block_offset_ = 0;
  std::uint64_t next_offset_ = 0;
  std::uint64_t decoded_before_ = 0;
  std::vector<std::byte> stored_;
  std::vector<std::byte> block_;
  std::size_t used_ = 0;
};

} // namespace rrpcp::compat
