#include "trace/stream_chunk.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "rrpcp/error.h"
#include "rrpcp/format.h"
#include "trace/stream_header.h"

#include <cstring>

namespace rrpcp::trace {

using namespace trace_format;

std::uint64_t StreamChunk::extent() const {
  return kChunkHeaderSize + align_up(stored_length, 8);
}

StreamChunkBytes encode_stream_chunk(const StreamChunk& chunk, std::uint64_t stream) {
  StreamChunkBytes bytes{};
  std::span<std::byte> out(bytes);
  std::memcpy(out.data(), kChunkMagic.data(), kChunkMagic.size());
  store_le<std::uint16_t>(out, kChunkCodec, chunk.codec);
  store_le<std::uint32_t>(out, kChunkStoredLength, chunk.stored_length);
  store_le<std::uint32_t>(out, kChunkLength, chunk.length);
  store_le<std::uint64_t>(out, kChunkChecksum, chunk.checksum);
  store_le<std::uint64_t>(out, kChunkStoredChecksum, chunk.stored_checksum);
  store_le<std::int64_t>(out, kChunkFirstEvent, chunk.first_event);
  store_le<std::uint32_t>(out, kChunkEvents, chunk.events);
  store_le<std::uint32_t>(out, kChunkContents, chunk.contents);
  store_le<std::uint64_t>(out, kChunkDecodedOffset, chunk.decoded_offset);
  store_le<std::uint64_t>(out, kChunkPending, chunk.pending);
  store_le<std::uint32_t>(out, kChunkFirstRecord, chunk.first_record);
  store_le<std::uint64_t>(out, kChunkNumber, chunk.number);
  store_le<std::uint64_t>(out, kChunkStream, stream);
  store_le<std::uint64_t>(out, kChunkHeaderChecksum, xxh3_64(out.first(kChunkHeaderChecksum)));
  return bytes;
}

StreamChunk decode_stream_chunk(std::span<const std::byte> bytes, const TraceHeader& stream,
                                std::uint64_t number, std::uint64_t offset,
                                const std::string& name) {
  std::span<const std::byte> in = bytes.first(kChunkHeaderSize);
  auto damaged = [&](const std::string& what, std::size_t at) {
    return Error(ErrorCode::kDamaged, what).in_file(name).at(offset + at);
  };
  if (std::memcmp(in.data(), kChunkMagic.data(), kChunkMagic.size()) != 0) {
    throw damaged("no chunk begins here", 0);
  }
  if (load_le<std::uint64_t>(in, kChunkHeaderChecksum) != xxh3_64(in.first(kChunkHeaderChecksum))) {
    throw damaged("the checksum of a chunk's header does not match its bytes",
                  kChunkHeaderChecksum);
  }
  StreamChunk chunk;
  chunk.codec = load_le<std::uint16_t>(in, kChunkCodec);
  chunk.stored_length = load_le<std::uint32_t>(in, kChunkStoredLength);
  chunk.length = load_le<std::uint32_t>(in, kChunkLength);
  chunk.checksum = load_le<std::uint64_t>(in, kChunkChecksum);
  chunk.stored_checksum = load_le<std::uint64_t>(in, kChunkStoredChecksum);
  chunk.first_event = load_le<std::int64_t>(in, kChunkFirstEvent);
  chunk.events = load_le<std::uint32_t>(in, kChunkEvents);
  chunk.contents = load_le<std::uint32_t>(in, kChunkContents);
  chunk.decoded_offset = load_le<std::uint64_t>(in, kChunkDecodedOffset);
  chunk.pending = load_le<std::uint64_t>(in, kChunkPending);
  chunk.first_record = load_le<std::uint32_t>(in, kChunkFirstRecord);
  chunk.number = load_le<std::uint64_t>(in, kChunkNumber);
  if (load_le<std::uint64_t>(in, kChunkStream) != stream.checksum) {
    throw damaged("a chunk belongs to another trace", kChunkStream);
  }
  if (chunk.number != number) {
    throw damaged("chunk " + std::to_string(chunk.number) + " stands in the place of chunk " +
                      std::to_string(number),
                  kChunkNumber);
  }
  if (chunk.codec != format::kCodecRaw && chunk.codec != format::kCodecZstd) {
    throw Error(ErrorCode::kUnsupportedFeature, "a chunk has codec " + std::to_string(chunk.codec) +
                                                    ", which this program does not know")
        .in_file(name)
        .at(offset + kChunkCodec);
  }
  const bool raw = chunk.codec == format::kCodecRaw;
  if (chunk.length == 0 || chunk.length % 8 != 0 || chunk.length > kMaxChunkLength) {
    throw damaged("the length of a chunk is wrong", kChunkLength);
  }
  if (raw ? chunk.stored_length != chunk.length
          : chunk.stored_length == 0 || chunk.stored_length >= chunk.length) {
    throw damaged("the stored length of a chunk is wrong", kChunkStoredLength);
  }
  if (chunk.first_event < 1 || chunk.first_event > INT64_MAX - chunk.events) {
    throw damaged("the number of a chunk's first event is wrong", kChunkFirstEvent);
  }
  if (chunk.first_record % 8 != 0 || chunk.first_record > chunk.length ||
      // Every record has a head and a word of message.
      chunk.events > (chunk.length - chunk.first_record) / (kRecordHeadSize + 8)) {
    throw damaged("the place of a chunk's first record is wrong", kChunkFirstRecord);
  }
  if (!may_use_reserved(stream) &&
      (!is_zero(in.subspan(kChunkReserved0, 2)) || !is_zero(in.subspan(kChunkReserved, 4)))) {
    throw damaged("reserved bytes of a chunk's header are not zero", kChunkReserved);
  }
  return chunk;
}

} // namespace rrpcp::trace
