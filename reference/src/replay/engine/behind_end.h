// The bytes between the end of a file and that of its last page, which mappings show, and which
// neither read(2) nor write(2) reaches.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace rrpcp::replay {

// From byte `from` of an open file to the end of that page; nothing where they cannot be mapped.
std::vector<std::byte> read_to_end_of_page(int fd, std::uint64_t from);

// What is not zero of the bytes behind the end of an open file of `size` bytes, up to the last that
// is not.
std::vector<std::byte> read_behind_end(int fd, std::uint64_t size);

// Writes to the page in which the file of `size` bytes ends. Throws Error where the bytes do not
// lie there. `fd`: open for reading and writing.
void write_behind_end(int fd, std::uint64_t size, std::span<const std::byte> bytes,
                      std::uint64_t offset);

} // namespace rrpcp::replay
