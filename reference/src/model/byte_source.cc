#include "model/byte_source.h"

#include "base/file.h"
#include "base/open_file.h"
#include "container/bases.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace rrpcp {

ByteSource ByteSource::open(const std::string& path) {
  ScopedFd file = open_file(path.c_str(), O_RDONLY);
  if (!file) {
    throw system_error(errno, "cannot open").in_file(path);
  }
  return ByteSource(std::move(file), path);
}

ByteSource ByteSource::duplicate(int fd, const std::string& name) {
  ScopedFd file(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!file) {
    throw system_error(errno, "cannot open").in_file(name);
  }
  return ByteSource(std::move(file), name);
}

ByteSource::ByteSource(ScopedFd file, const std::string& path)
    : file_(std::move(file)), name_(path) {
  struct stat status;
  if (::fstat(file_.get(), &status) != 0) {
    throw system_error(errno, "cannot examine").in_file(path);
  }
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorCode::kInvalidArgument,
                S_ISDIR(status.st_mode) ? "this is a directory, not a checkpoint"
                                        : "a checkpoint can only be read from a regular file")
        .in_file(path);
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
  stored_size_ = std::min(size_, static_cast<std::uint64_t>(status.st_blocks) * 512);
}

std::string ByteSource::directory() const {
  return file_ ? directory_of(file_.get()) : std::string();
}

ByteSource::ByteSource(std::span<const std::byte> bytes, std::string name)
    : bytes_(bytes), size_(bytes.size()), stored_size_(bytes.size()), name_(std::move(name)) {}

void ByteSource::read(std::uint64_t offset, std::span<std::byte> out) const {
  if (!file_) {
    if (!out.empty()) {
      std::memcpy(out.data(), bytes_.subspan(offset, out.size()).data(), out.size());
    }
    return;
  }
  const std::size_t done = read_at(file_.get(), out, offset, name_);
  if (done < out.size()) {
    throw Error(ErrorCode::kIncomplete, "the file became shorter while it was read")
        .in_file(name_)
        .at(offset + done);
  }
}

std::span<const std::byte> ByteSource::view(std::uint64_t offset, std::size_t length,
                                            std::span<std::byte> buffer) const {
  if (!file_) {
    return bytes_.subspan(offset, length);
  }
  read(offset, buffer.first(length));
  return buffer.first(length);
}

} // namespace rrpcp
