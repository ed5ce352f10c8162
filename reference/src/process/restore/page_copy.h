// Copying pages of the stream to where a restore needs them, with every checksum verified.
#pragma once

#include "rrpcp/reader.h"

#include <cstdint>
#include <sys/types.h>
#include <vector>

namespace rrpcp::process::restore {

// Where a row of pages goes.
struct PageTarget {
  enum class Kind {
    kProcess,    // memory of the new process; writable there
    kDescriptor, // a file of this process
    kMemory,     // memory of this process
  } kind = Kind::kProcess;
  // Address in the process, byte offset in the file, or address in this process.
  std::uint64_t position = 0;
  // For kDescriptor.
  int descriptor = -1;
};

struct PageCopy {
  // The checkpoint whose stream the pages are in: the one that is restored, or a base of it.
  const CheckpointReader* source = nullptr;
  // Index in the page stream.
  std::uint64_t first = 0;
  // Bytes to copy, from the start of that page; need not be whole pages.
  std::uint64_t bytes = 0;
  PageTarget target;
};

// Carries out `copies`, whose sources are all open. `process` is the new process; it is this
// process's tracee. `threads`: how many work at it, the calling one included; 0: as many as
// processors are available. A chunk is read once for all copies of its pages. Memory stays bounded:
// one chunk per thread. Throws Error: kDamaged for a checksum that does not match, kSystem.
void copy_pages(std::vector<PageCopy> copies, pid_t process, unsigned threads);

} // namespace rrpcp::process::restore
