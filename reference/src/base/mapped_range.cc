#include "base/mapped_range.h"

#include "rrpcp/error.h"

#include <cerrno>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

namespace rrpcp {

MappedRange::MappedRange(int fd, std::uint64_t offset, std::uint64_t length,
                         const std::string& name) {
  if (length == 0) {
    return;
  }
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t skip = offset % page;
  void* base =
      ::mmap(nullptr, length + skip, PROT_READ, MAP_PRIVATE, fd, static_cast<off_t>(offset - skip));
  if (base == MAP_FAILED) {
    throw system_error(errno, "cannot map").in_file(name).at(offset);
  }
  base_ = base;
  mapped_length_ = length + skip;
  bytes_ = {static_cast<const std::byte*>(base) + skip, length};
}

MappedRange::MappedRange(MappedRange&& other) noexcept {
  *this = std::move(other);
}

MappedRange& MappedRange::operator=(MappedRange&& other) noexcept {
  std::swap(base_, other.base_);
  std::swap(mapped_length_, other.mapped_length_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedRange::~MappedRange() {
  if (base_ != nullptr) {
    ::munmap(base_, mapped_length_);
  }
}

} // namespace rrpcp
