#include "process/capture/page_spool.h"

#include "rrpcp/error.h"

#include <cerrno>
#include <unistd.h>

namespace rrpcp::capture {

std::uint64_t PageSpool::append(std::span<const std::byte> bytes) {
  if (file_ == nullptr) {
    file_ = std::make_unique<PendingFile>(directory_);
  }
  const std::uint64_t place = length_;
  while (!bytes.empty()) {
    ssize_t n = ::pwrite(file_->fd(), bytes.data(), bytes.size(), static_cast<off_t>(length_));
    if (n < 0) {
      if (errno == EINTR) {
        continue;
      }
      throw system_error(errno, "cannot set pages aside").in_file(directory_);
    }
    length_ += static_cast<std::uint64_t>(n);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return place;
}

void PageSpool::clear() {
  file_.reset();
  length_ = 0;
}

} // namespace rrpcp::capture
