// Writing the parts of a trace's stream: header, chunks, index and footer.
#pragma once

#include "container/chunk_codec.h"
#include "rrpcp/output.h"
#include "rrpcp/trace/trace_reader.h"
#include "rrpcp/writer.h"
#include "trace/stream_chunk.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace rrpcp::trace {

// One thread at a time. What was written last is cut off by the caller where a write failed: only
// the bytes before end() are whole.
class StreamWriter {
public:
  // Writes the header. `output` must outlive the writer.
  StreamWriter(Output& output, const TraceHeader& header, Profile profile);

  // With its checksum.
  const TraceHeader& header() const { return header_; }
  // Bytes of the file up to the last whole part.
  std::uint64_t end() const { return end_; }

  // Writes a chunk with one write(2). Of `chunk`, what says how it is stored and where is filled
  // in. Throws Error.
  void write_chunk(StreamChunk chunk, std::span<const std::byte> bytes);
  // Writes index and footer. Throws Error.
  void write_index();

private:
  void write(std::span<const std::byte> bytes);

  Output& output_;
  TraceHeader header_;
  Profile profile_;
  std::uint64_t end_ = 0;
  std::optional<ChunkEncoder> encoder_;
  std::size_t encoder_capacity_ = 0;
  std::vector<std::byte> buffer_;
  std::vector<TraceChunk> index_;
  std::int64_t event_count_ = 0;
};

} // namespace rrpcp::trace
