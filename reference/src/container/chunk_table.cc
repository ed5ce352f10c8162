#include "container/chunk_table.h"

#include "base/bytes.h"

namespace rrpcp {

using namespace format;

std::vector<std::byte> encode_chunk_table(std::span<const ChunkEntry> chunks) {
  std::vector<std::byte> table(chunks.size() * kChunkEntrySize);
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    std::span<std::byte> out = std::span(table).subspan(i * kChunkEntrySize, kChunkEntrySize);
    store_le(out, kChunkOffset, chunks[i].offset);
    store_le(out, kChunkStoredLength, chunks[i].stored_length);
    store_le(out, kChunkLength, chunks[i].length);
    store_le(out, kChunkChecksum, chunks[i].checksum);
    store_le(out, kChunkStoredChecksum, chunks[i].stored_checksum);
    store_le(out, kChunkCodec, chunks[i].codec);
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

} // namespace rrpcp
