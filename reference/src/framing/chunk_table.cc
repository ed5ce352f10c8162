#include "framing/chunk_table.h"

#include "base/bytes.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace rrpcp::framing {

using namespace format;
using std::to_string;

namespace {

// Reports about one entry.
class EntryCheck {
public:
  EntryCheck(const ChunkContext& context, std::uint64_t index, Sink& sink)
      : context_(context), index_(index), sink_(sink) {}

  void bad(DiagnosticCode code, std::size_t field, const std::string& message) {
    tell(code, field, message);
    usable_ = false;
  }
  // What does not keep the chunk from being read.
  void tell(DiagnosticCode code, std::size_t field, const std::string& message) {
    sink_.at(code, context_.table_offset + index_ * context_.footer.chunk_entry_size + field,
             "chunk " + to_string(index_) + ": " + message);
  }
  bool usable() const { return usable_; }

private:
  const ChunkContext& context_;
  std::uint64_t index_;
  Sink& sink_;
  bool usable_ = true;
};

} // namespace

std::vector<std::byte> encode_chunk_table(std::span<const ChunkEntry> chunks,
                                          std::uint32_t entry_size,
                                          std::span<const std::byte> rests) {
  std::vector<std::byte> table(chunks.size() * entry_size);
  const std::size_t rest = entry_size - kChunkReserved;
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    std::span<std::byte> out = std::span(table).subspan(i * entry_size, entry_size);
    store_le(out, kChunkOffset, chunks[i].offset);
    store_le(out, kChunkStoredLength, chunks[i].stored_length);
    store_le(out, kChunkLength, chunks[i].length);
    store_le(out, kChunkChecksum, chunks[i].checksum);
    store_le(out, kChunkStoredChecksum, chunks[i].stored_checksum);
    store_le(out, kChunkCodec, chunks[i].codec);
    if (!rests.empty()) {
      std::memcpy(&out[kChunkReserved], &rests[i * rest], rest);
    }
  }
  return table;
}

ChunkEntry decode_chunk_entry(std::span<const std::byte> table, std::uint32_t entry_size,
                              std::uint64_t index) {
  std::span<const std::byte> in = table.subspan(index * entry_size, kChunkEntrySize);
  ChunkEntry entry;
  entry.offset = load_le<std::uint64_t>(in, kChunkOffset);
  entry.stored_length = load_le<std::uint32_t>(in, kChunkStoredLength);
  entry.length = load_le<std::uint32_t>(in, kChunkLength);
  entry.checksum = load_le<std::uint64_t>(in, kChunkChecksum);
  entry.stored_checksum = load_le<std::uint64_t>(in, kChunkStoredChecksum);
  entry.codec = load_le<std::uint16_t>(in, kChunkCodec);
  return entry;
}

std::uint64_t chunk_start(std::uint64_t previous_end, std::uint16_t codec,
                          std::uint32_t page_size) {
  return codec == kCodecRaw ? align_up(previous_end, page_size) : previous_end;
}

bool check_chunk_entry(const ChunkContext& context, const ChunkEntry& chunk,
                       std::span<const std::byte> bytes, std::uint64_t index, Sink& sink) {
  const Header& header = context.header;
  EntryCheck check(context, index, sink);
  const std::uint64_t pages = std::min<std::uint64_t>(
      header.chunk_pages, context.footer.page_count - index * header.chunk_pages);
  if (chunk.length != pages * header.page_size) {
    check.bad("chunk.length", kChunkLength,
              "the decoded length, " + to_string(chunk.length) + ", is not that of " +
                  to_string(pages) + " pages");
  }
  switch (chunk.codec) {
  case kCodecRaw:
    if (chunk.stored_length != chunk.length || chunk.stored_checksum != chunk.checksum) {
      check.bad("chunk.stored-length", kChunkStoredLength,
                "a raw chunk's stored and decoded length or checksum differ");
    }
    if (chunk.offset % header.page_size != 0) {
      check.bad("chunk.offset", kChunkOffset,
                "a raw chunk does not begin at a multiple of the page size");
    }
    break;
  case kCodecZstd:
    if (chunk.stored_length == 0 || chunk.stored_length >= chunk.length) {
      check.bad("chunk.stored-length", kChunkStoredLength,
                to_string(chunk.stored_length) + " bytes for " + to_string(chunk.length) +
                    " decoded ones");
    }
    if ((header.incompatible & kIncompatZstd) == 0) {
      check.bad("header.feature-unset", kChunkCodec,
                "it is compressed by zstd, but feature bit 0 is not set");
    }
    break;
  default:
    check.bad("chunk.codec", kChunkCodec,
              "codec " + to_string(chunk.codec) + " is not known to this program");
    break;
  }
  if (!header.may_use_reserved() &&
      !is_zero(bytes.subspan(kChunkReserved, kChunkEntrySize - kChunkReserved))) {
    check.tell("chunk.reserved", kChunkReserved, "reserved bytes are not zero");
  }
  if (check.usable() && (chunk.offset < kHeaderSize || chunk.offset > context.page_data_end ||
                         chunk.stored_length > context.page_data_end - chunk.offset)) {
    check.bad("chunk.offset", kChunkOffset, "its bytes lie outside of the page data");
  }
  return check.usable();
}

bool check_chunk_place(const ChunkContext& context, const ChunkEntry& chunk, std::uint64_t index,
                       std::uint64_t previous_end, Sink& sink) {
  const bool fits = chunk.codec == kCodecRaw
                        ? chunk.offset >= previous_end && chunk.offset - previous_end < kMaxChunkGap
                        : chunk.offset == previous_end;
  if (!fits) {
    EntryCheck(context, index, sink)
        .bad("chunk.offset", kChunkOffset,
             "it cannot lie at byte " + to_string(chunk.offset) +
                 " where the part before it ends "
                 "at byte " +
                 to_string(previous_end));
  }
  return fits;
}

} // namespace rrpcp::framing
