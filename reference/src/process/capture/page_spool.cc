#include "process/capture/page_spool.h"

#include "base/file.h"
#include "rrpcp/error.h"

#include <cerrno>
#include <unistd.h>

namespace rrpcp::process::capture {

std::uint64_t PageSpool::append(std::span<const std::byte> bytes) {
  if (file_ == nullptr) {
    file_ = std::make_unique<PendingFile>(directory_);
  }
  const std::uint64_t place = length_;
  write_at(file_->fd(), bytes, length_, directory_, "cannot set pages aside");
  length_ += bytes.size();
  return place;
}

void PageSpool::clear() {
  file_.reset();
  length_ = 0;
}

} // namespace rrpcp::process::capture
