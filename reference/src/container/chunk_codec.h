// Encoding and decoding of one chunk.
#pragma once

#include "base/page_buffer.h"
#include "rrpcp/writer.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

struct ZSTD_CCtx_s;
struct ZSTD_DCtx_s;

namespace rrpcp {

// Compresses chunks as a profile wants it. Keeps its work memory between calls; one thread at a
// time.
class ChunkEncoder {
public:
  // Chunks have at most `max_length` bytes.
  ChunkEncoder(Profile profile, std::size_t max_length);
  ~ChunkEncoder();
  ChunkEncoder(const ChunkEncoder&) = delete;
  ChunkEncoder& operator=(const ChunkEncoder&) = delete;

  struct Result {
    std::uint16_t codec;
    // Points into `chunk` for kCodecRaw, into the encoder otherwise; valid until the next call.
    std::span<const std::byte> stored;
  };
  Result encode(std::span<const std::byte> chunk);

  // Size of the encoder's own buffer, which is never less than `max_length`.
  static std::size_t buffer_size(std::size_t max_length);
  // Exchanges the encoder's buffer, which begins with what the last encode() stored in it, for one
  // of buffer_size() bytes at least.
  void swap_buffer(PageBuffer& buffer) { std::swap(buffer_, buffer); }

private:
  // Whether compressing would most likely be in vain, found out from parts of the chunk.
  bool seems_incompressible(std::span<const std::byte> chunk);
  // Bytes that `bytes` take when compressed into buffer_.
  std::size_t compress(std::span<const std::byte> bytes, int level);

  Profile profile_;
  int level_;
  PageBuffer buffer_;
  ZSTD_CCtx_s* context_ = nullptr;
};

// Decompresses zstd frames. One thread at a time.
class ChunkDecoder {
public:
  ChunkDecoder();
  ~ChunkDecoder();
  ChunkDecoder(const ChunkDecoder&) = delete;
  ChunkDecoder& operator=(const ChunkDecoder&) = delete;

  // Decodes exactly one frame that makes exactly out.size() bytes; false for anything else.
  bool decode(std::span<const std::byte> stored, std::span<std::byte> out);

private:
  ZSTD_DCtx_s* context_;
};

} // namespace rrpcp
