#include "replay/engine/behind_end.h"

#include "base/bytes.h"
#include "base/page.h"
#include "rrpcp/error.h"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

namespace rrpcp::replay {

namespace {

class MappedPage {
public:
  MappedPage(int fd, std::uint64_t offset, int protection)
      : start_(::mmap(nullptr, kPage, protection, MAP_SHARED, fd,
                      static_cast<off_t>(offset & ~(kPage - 1)))) {}
  ~MappedPage() {
    if (mapped()) {
      ::munmap(start_, kPage);
    }
  }
  MappedPage(const MappedPage&) = delete;
  MappedPage& operator=(const MappedPage&) = delete;

  bool mapped() const { return start_ != MAP_FAILED; }
  std::byte* at(std::uint64_t offset) const {
    return static_cast<std::byte*>(start_) + offset % kPage;
  }

private:
  void* start_;
};

} // namespace

std::vector<std::byte> read_to_end_of_page(int fd, std::uint64_t from) {
  const MappedPage page(fd, from, PROT_READ);
  std::vector<std::byte> bytes(page.mapped() ? kPage - from % kPage : 0);
  // (Not by a load: who else has the file may have made it shorter.)
  const iovec to{bytes.data(), bytes.size()};
  const iovec source{page.at(from), bytes.size()};
  if (!bytes.empty() &&
      ::process_vm_readv(::getpid(), &to, 1, &source, 1, 0) != static_cast<ssize_t>(bytes.size())) {
    bytes.clear();
  }
  return bytes;
}

std::vector<std::byte> read_behind_end(int fd, std::uint64_t size) {
  if (size % kPage == 0) {
    return {};
  }
  std::vector<std::byte> bytes = read_to_end_of_page(fd, size);
  while (!bytes.empty() && bytes.back() == std::byte{0}) {
    bytes.pop_back();
  }
  return bytes;
}

void write_behind_end(int fd, std::uint64_t size, std::span<const std::byte> bytes,
                      std::uint64_t offset) {
  if (bytes.empty()) {
    return;
  }
  const std::uint64_t end = align_up(size, kPage);
  if (offset < size || offset > end || bytes.size() > end - offset) {
    throw Error(ErrorCode::kInvalidArgument, "bytes lie behind the end of a shared object");
  }
  const MappedPage page(fd, offset, PROT_READ | PROT_WRITE);
  if (!page.mapped()) {
    throw system_error(errno, "cannot map a shared object");
  }
  std::memcpy(page.at(offset), bytes.data(), bytes.size());
}

} // namespace rrpcp::replay
