// Encoding and decoding of the two fixed structures of a trace's stream, header and footer.
#pragma once

#include "rrpcp/trace/trace_format.h"
#include "rrpcp/trace/trace_reader.h"

#include <array>
#include <cstddef>
#include <span>
#include <string>

namespace rrpcp::trace {

using StreamHeaderBytes = std::array<std::byte, trace_format::kHeaderSize>;
using StreamFooterBytes = std::array<std::byte, trace_format::kFooterSize>;

// The header with its checksum; `minor` is at least the current one.
StreamHeaderBytes encode_stream_header(const TraceHeader& header);
// Decodes and checks everything about a header. `name` is for errors.
TraceHeader decode_stream_header(std::span<const std::byte> bytes, const std::string& name);

// Whether bytes that are reserved today may hold something: a newer release uses them behind a
// feature bit only (spec/compatibility.md).
bool may_use_reserved(const TraceHeader& header);

// The decoded footer (spec/trace.md, "Footer").
struct StreamFooter {
  std::uint64_t index_offset = 0;
  std::uint64_t chunk_count = 0;
  std::uint32_t entry_size = trace_format::kIndexEntrySize;
  std::array<std::uint8_t, 16> index_digest{};
  std::int64_t event_count = 0;
  std::uint64_t file_length = 0;
};

// The footer with its checksum; `stream` is the header's checksum.
StreamFooterBytes encode_stream_footer(const StreamFooter& footer, std::uint64_t stream);
// Whether the last kFooterSize bytes of a file are a footer at all: its end magic is there.
bool has_stream_footer(std::span<const std::byte> bytes);
// Decodes and checks a footer against the header and the real length of the file.
StreamFooter decode_stream_footer(std::span<const std::byte> bytes, const TraceHeader& header,
                                  std::uint64_t file_size, const std::string& name);

} // namespace rrpcp::trace
