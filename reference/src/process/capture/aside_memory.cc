#include "process/capture/aside_memory.h"

#include <algorithm>
#include <new>
#include <sys/mman.h>

namespace rrpcp::process::capture {

AsideMemory::~AsideMemory() {
  release();
}

void AsideMemory::release() {
  if (!bytes_.empty()) {
    ::munmap(bytes_.data(), bytes_.size());
    bytes_ = {};
  }
}

void AsideMemory::reserve(std::size_t size, bool ready) {
  if (size <= bytes_.size()) {
    return;
  }
  release();
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw std::bad_alloc();
  }
  bytes_ = {static_cast<std::byte*>(memory), size};
  ::madvise(memory, size, MADV_HUGEPAGE); // fewer faults
  ::madvise(memory, size, MADV_DONTFORK);
  if (ready) {
    std::ranges::fill(bytes_, std::byte{0});
  }
}

} // namespace rrpcp::process::capture
