// Pages set aside while a process stands still.
#pragma once

#include "store/atomic_file.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace rrpcp::process::capture {

// A file without a name beside the output, made when the first page comes: memory stays bounded
// however much has to be set aside. One thread at a time.
class PageSpool {
public:
  // Of the directory in which the file is made.
  explicit PageSpool(std::string directory) : directory_(std::move(directory)) {}

  // Returns the place of the bytes. Throws Error (kNoSpace, …).
  std::uint64_t append(std::span<const std::byte> bytes);
  // The file, to read from; -1 where nothing was set aside.
  int fd() const { return file_ ? file_->fd() : -1; }
  const std::string& directory() const { return directory_; }
  // Forgets everything.
  void clear();

private:
  std::string directory_;
  std::unique_ptr<PendingFile> file_;
  std::uint64_t length_ = 0;
};

} // namespace rrpcp::process::capture
