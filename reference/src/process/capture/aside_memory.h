// Memory for pages that are set aside while a process stands still.
#pragma once

#include <cstddef>
#include <span>

namespace rrpcp::process::capture {

// Memory that is there before it is used, so that nothing has to be got while a process stands
// still, and of which a child process of ours has nothing: what is written to it would be copied
// otherwise, page by page, as long as there is such a child. Kept from one use to the next.
class AsideMemory {
public:
  AsideMemory() = default;
  ~AsideMemory();
  AsideMemory(const AsideMemory&) = delete;
  AsideMemory& operator=(const AsideMemory&) = delete;

  // Has at least `size` bytes from now on, of no value, if `size` is larger than it was; what was
  // in it is gone then. `ready`: they are there when this returns. Throws std::bad_alloc.
  void reserve(std::size_t size, bool ready);
  std::span<std::byte> span() const { return bytes_; }

private:
  void release();

  std::span<std::byte> bytes_;
};

} // namespace rrpcp::process::capture
