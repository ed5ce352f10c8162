// The chunk table: encoding, decoding, and the rules of one entry.
#pragma once

#include "framing/sink.h"
#include "rrpcp/reader.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace rrpcp::framing {

// `entry_size` bytes for each chunk. `rests` has, for each chunk, what its entry has from
// kChunkReserved on, as in a file that is copied; empty: zeros.
std::vector<std::byte> encode_chunk_table(std::span<const ChunkEntry> chunks,
                                          std::uint32_t entry_size = format::kChunkEntrySize,
                                          std::span<const std::byte> rests = {});

// Entry `index` of a table as it lies in the file; nothing is checked.
ChunkEntry decode_chunk_entry(std::span<const std::byte> table, std::uint32_t entry_size,
                              std::uint64_t index);

// Where a chunk of `codec` begins at the earliest that follows bytes up to `previous_end`.
std::uint64_t chunk_start(std::uint64_t previous_end, std::uint16_t codec, std::uint32_t page_size);

// What an entry is judged by.
struct ChunkContext {
  const Header& header;
  const Footer& footer;
  std::uint64_t table_offset;  // in the file
  std::uint64_t page_data_end; // where the first section begins: no chunk reaches further
};

// Judges what an entry says by itself; `bytes` are the whole entry. True where the chunk can be
// read and decoded.
bool check_chunk_entry(const ChunkContext& context, const ChunkEntry& chunk,
                       std::span<const std::byte> bytes, std::uint64_t index, Sink& sink);

// Judges the chunk's place behind the bytes up to `previous_end`; what lies between must be zero,
// which is not looked at here.
bool check_chunk_place(const ChunkContext& context, const ChunkEntry& chunk, std::uint64_t index,
                       std::uint64_t previous_end, Sink& sink);

} // namespace rrpcp::framing
