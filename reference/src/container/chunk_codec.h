// Encoding and decoding of one chunk.
#pragma once

#include "rrpcp/writer.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

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

private:
  int level_;
  std::vector<std::byte> buffer_;
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
