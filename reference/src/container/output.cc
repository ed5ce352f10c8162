#include "rrpcp/output.h"

#include "base/bytes.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace rrpcp {

namespace {

// write(2) takes at most this much at once.
constexpr std::size_t kMaxWrite = 0x7ffff000;

// Blocks are reserved in steps of this size, unless the file may stay small: such a one takes no
// more than it needs, also for a moment.
constexpr std::uint64_t kReserveStep = 64u << 20;
constexpr std::uint64_t kSmall = 4u << 20;

void wait_writable(int fd) {
  pollfd waiting{fd, POLLOUT, 0};
  ::poll(&waiting, 1, -1);
}

} // namespace

Output::Output(int fd, std::string name) : fd_(fd), name_(std::move(name)) {
  struct stat status;
  if (::fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
    off_t position = ::lseek(fd, 0, SEEK_CUR);
    if (position >= 0) {
      base_ = position;
    }
  }
}

void Output::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::write(fd_, bytes.data(), std::min(bytes.size(), kMaxWrite));
    if (n < 0) {
      if (errno == EINTR) {
        continue;
      }
      if (errno == EAGAIN) {
        wait_writable(fd_);
        continue;
      }
      throw system_error(errno, "cannot write").in_file(name_).at(offset_);
    }
    offset_ += static_cast<std::uint64_t>(n);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
}

void Output::pad_to(std::uint64_t alignment) {
  static constexpr std::array<std::byte, 4096> kZeros{};
  std::uint64_t missing = align_up(offset_, alignment) - offset_;
  while (missing > 0) {
    std::size_t n = std::min<std::uint64_t>(missing, kZeros.size());
    write(std::span(kZeros).first(n));
    missing -= n;
  }
}

void Output::reserve(std::uint64_t bytes) {
  if (base_ < 0 || offset_ + bytes <= std::max(reserved_, kSmall)) {
    return;
  }
  // Blocks beyond the end of the file; trim() gives back what was not needed. A failure means only
  // that the hint is not taken: the write that needs the space will tell.
  const std::uint64_t start = std::max(offset_, reserved_);
  const std::uint64_t end = align_up(offset_ + bytes, kReserveStep);
  if (::fallocate(fd_, FALLOC_FL_KEEP_SIZE, base_ + static_cast<off_t>(start),
                  static_cast<off_t>(end - start)) == 0) {
    reserved_ = end;
  } else {
    base_ = -1;
  }
}

void Output::trim() {
  if (base_ < 0 || reserved_ <= offset_) {
    return;
  }
  while (::ftruncate(fd_, base_ + static_cast<off_t>(offset_)) != 0) {
    if (errno != EINTR) {
      throw system_error(errno, "cannot give back reserved space").in_file(name_).at(offset_);
    }
  }
  reserved_ = offset_;
}

} // namespace rrpcp
