#include "process/capture/scratch_memory.h"

#include <sys/mman.h>
#include <sys/syscall.h>

namespace rrpcp::process::capture {

namespace {

constexpr std::uint64_t kSize = 4096;
static_assert(kSize == ReturnGate::kResultSize);

} // namespace

void ScratchMemory::map(RemoteCalls& calls) {
  if (lent_ == 0 && !mapped()) {
    address_ = calls.require("getting a page of memory", SYS_mmap, 0, kSize, PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  }
}

void ScratchMemory::unmap(RemoteCalls& calls) {
  if (mapped()) {
    calls.require("giving back a page of memory", SYS_munmap, address_, kSize);
    address_ = 0;
  }
}

ScratchMemory ScratchMemory::of_copy(pid_t pid) const {
  ScratchMemory copy(pid);
  copy.lent_ = lent_;
  copy.address_ = address_;
  return copy;
}

} // namespace rrpcp::process::capture
