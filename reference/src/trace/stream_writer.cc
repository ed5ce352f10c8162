#include "trace/stream_writer.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "rrpcp/format.h"
#include "trace/stream_header.h"

#include <algorithm>

namespace rrpcp::trace {

using namespace trace_format;

StreamWriter::StreamWriter(Output& output, const TraceHeader& header, Profile profile)
    : output_(output), header_(header), profile_(profile) {
  const StreamHeaderBytes bytes = encode_stream_header(header_);
  header_.checksum = load_le<std::uint64_t>(bytes, kHeaderChecksum);
  write(bytes);
}

void StreamWriter::write(std::span<const std::byte> bytes) {
  output_.write(bytes);
  end_ = output_.offset();
}

void StreamWriter::write_chunk(StreamChunk chunk, std::span<const std::byte> bytes) {
  if (!encoder_ || encoder_capacity_ < bytes.size()) {
    encoder_capacity_ = std::max<std::size_t>(bytes.size(), kDefaultChunkLength);
    encoder_.emplace(profile_, encoder_capacity_);
  }
  const ChunkEncoder::Result result = encoder_->encode(bytes);
  chunk.codec = result.codec;
  chunk.stored_length = static_cast<std::uint32_t>(result.stored.size());
  chunk.length = static_cast<std::uint32_t>(bytes.size());
  chunk.checksum = xxh3_64(bytes);
  chunk.stored_checksum =
      result.codec == format::kCodecRaw ? chunk.checksum : xxh3_64(result.stored);
  chunk.number = index_.size();
  const StreamChunkBytes head = encode_stream_chunk(chunk, header_.checksum);
  buffer_.assign(head.begin(), head.end());
  buffer_.insert(buffer_.end(), result.stored.begin(), result.stored.end());
  buffer_.resize(chunk.extent());
  const TraceChunk entry{output_.offset(), chunk.first_event, chunk.events, chunk.contents,
                         chunk.decoded_offset};
  write(buffer_);
  index_.push_back(entry);
  event_count_ = chunk.first_event + chunk.events - 1;
}

void StreamWriter::write_index() {
  std::vector<std::byte> tail(index_.size() * kIndexEntrySize);
  for (std::size_t i = 0; i < index_.size(); ++i) {
    const TraceChunk& chunk = index_[i];
    const std::span<std::byte> entry =
        std::span(tail).subspan(i * kIndexEntrySize, kIndexEntrySize);
    store_le<std::uint64_t>(entry, kIndexOffset, chunk.offset);
    store_le<std::int64_t>(entry, kIndexFirstEvent, chunk.first_event);
    store_le<std::uint32_t>(entry, kIndexEvents, chunk.events);
    store_le<std::uint32_t>(entry, kIndexContents, chunk.contents);
    store_le<std::uint64_t>(entry, kIndexDecodedOffset, chunk.decoded_offset);
  }
  StreamFooter footer;
  footer.index_offset = output_.offset();
  footer.chunk_count = index_.size();
  footer.index_digest = xxh3_128(tail).canonical();
  footer.event_count = event_count_;
  footer.file_length = footer.index_offset + tail.size() + kFooterSize;
  const StreamFooterBytes bytes = encode_stream_footer(footer, header_.checksum);
  tail.insert(tail.end(), bytes.begin(), bytes.end());
  write(tail);
}

} // namespace rrpcp::trace
