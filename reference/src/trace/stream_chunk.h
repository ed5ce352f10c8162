// The header of one chunk of a trace's stream.
#pragma once

#include "rrpcp/trace/trace_format.h"
#include "rrpcp/trace/trace_reader.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace rrpcp::trace {

using StreamChunkBytes = std::array<std::byte, trace_format::kChunkHeaderSize>;

// Decoded header of a chunk (spec/trace.md, "Chunks").
struct StreamChunk {
  std::uint16_t codec = 0;
  std::uint32_t stored_length = 0;
  std::uint32_t length = 0;
  std::uint64_t checksum = 0;
  std::uint64_t stored_checksum = 0;
  std::int64_t first_event = 1;
  std::uint32_t events = 0;
  std::uint32_t contents = 0;
  std::uint64_t decoded_offset = 0;
  // Bytes of the last record that lie in the chunks behind this one.
  std::uint64_t pending = 0;
  // Offset in the decoded bytes of the first record that begins here; `length`: none does.
  std::uint32_t first_record = 0;
  std::uint64_t number = 0;

  // Bytes of the whole chunk in the file: header, stored bytes, padding.
  std::uint64_t extent() const;
};

// The header with its checksum; `stream` is the stream header's checksum.
StreamChunkBytes encode_stream_chunk(const StreamChunk& chunk, std::uint64_t stream);
// Decodes and checks a header: its ranges, that it belongs to the stream whose header `stream` is,
// and that it has the number `number`. `offset` and `name` are for errors. Throws Error(kDamaged),
// kUnsupportedFeature for a codec.
StreamChunk decode_stream_chunk(std::span<const std::byte> bytes, const TraceHeader& stream,
                                std::uint64_t number, std::uint64_t offset,
                                const std::string& name);

} // namespace rrpcp::trace
