// Encoding and decoding of the chunk table.
#pragma once

#include "rrpcp/reader.h"

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace rrpcp {

std::vector<std::byte> encode_chunk_table(std::span<const ChunkEntry> chunks);

// Entry `index` of a table as it lies in the file; nothing is checked.
ChunkEntry decode_chunk_entry(std::span<const std::byte> table, std::uint32_t entry_size,
                              std::uint64_t index);

// Where a chunk of `codec` begins that follows bytes up to `previous_end`.
std::uint64_t chunk_start(std::uint64_t previous_end, std::uint16_t codec, std::uint32_t page_size);

} // namespace rrpcp
