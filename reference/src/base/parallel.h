// Work on several processors.
#pragma once

#include <cstdint>
#include <functional>

namespace rrpcp {

// Calls `work(i, worker)` for i from 0 to count - 1 from up to `threads` threads, the calling one
// included; `worker` is a number below `threads` that only one thread has at a time. The first
// exception ends the work and is thrown.
void parallel_for(std::uint64_t count, unsigned threads,
                  const std::function<void(std::uint64_t, unsigned)>& work);

// Processors that this process may run on, at least 1.
unsigned available_processors();

} // namespace rrpcp
