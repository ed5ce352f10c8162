// Reading files that consist of holes for the most part.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace rrpcp {

// Calls `sink` with the bytes of [offset, offset + length) of a file, piece by piece and in order.
// Holes are not read (lseek(2), SEEK_DATA): the pieces are zeros then. `buffer` is used for what is
// read. Returns how many bytes there were: fewer where the file ends before. Throws Error(kSystem)
// with errno and without a file name.
std::uint64_t read_sparse(int fd, std::uint64_t offset, std::uint64_t length,
                          std::vector<std::byte>& buffer,
                          const std::function<void(std::span<const std::byte>)>& sink);

} // namespace rrpcp
