#include "base/sparse_read.h"

#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <sys/stat.h>
#include <unistd.h>

namespace rrpcp {

namespace {

constexpr std::size_t kPiece = 256 << 10;

// Where the hole ends in which `offset` lies; `offset` itself where it lies in none, or the file
// system does not tell.
std::uint64_t end_of_hole(int fd, std::uint64_t offset, std::uint64_t end) {
  const off_t data = ::lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
  if (data < 0 && errno == ENXIO) { // nothing but a hole up to the file's end
    struct stat status;
    return ::fstat(fd, &status) == 0
               ? std::clamp(static_cast<std::uint64_t>(status.st_size), offset, end)
               : offset;
  }
  return data < 0 ? offset : std::min(static_cast<std::uint64_t>(data), end);
}

// Where the data ends in which `offset` lies.
std::uint64_t end_of_data(int fd, std::uint64_t offset, std::uint64_t end) {
  const off_t hole = ::lseek(fd, static_cast<off_t>(offset), SEEK_HOLE);
  return hole < 0 || static_cast<std::uint64_t>(hole) <= offset
             ? end
             : std::min(static_cast<std::uint64_t>(hole), end);
}

} // namespace

std::uint64_t read_sparse(int fd, std::uint64_t offset, std::uint64_t length,
                          std::vector<std::byte>& buffer,
                          const std::function<void(std::span<const std::byte>)>& sink) {
  static constexpr std::array<std::byte, kPiece> kZeros{};
  buffer.resize(std::min<std::uint64_t>(kPiece, length));
  const std::uint64_t start = offset;
  const std::uint64_t end = offset + length;
  while (offset < end) {
    for (std::uint64_t hole = end_of_hole(fd, offset, end); offset < hole;) {
      const std::uint64_t n = std::min<std::uint64_t>(kPiece, hole - offset);
      sink(std::span(kZeros).first(n));
      offset += n;
    }
    for (std::uint64_t data = end_of_data(fd, offset, end); offset < data;) {
      const std::uint64_t n = std::min<std::uint64_t>(kPiece, data - offset);
      const ssize_t got = ::pread(fd, buffer.data(), n, static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) {
        continue;
      }
      if (got < 0) {
        throw system_error(errno, "cannot read").at(offset);
      }
      if (got == 0) {
        return offset - start;
      }
      sink(std::span<const std::byte>(buffer).first(static_cast<std::size_t>(got)));
      offset += static_cast<std::uint64_t>(got);
    }
  }
  return offset - start;
}

} // namespace rrpcp
