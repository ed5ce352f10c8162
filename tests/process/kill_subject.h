// What the processes of kill_subject.cc tell about themselves, in a file that they map.
#pragma once

#include <cstdint>

namespace rrpcp::test {

struct Watch {
  static constexpr unsigned kThreads = 9;
  // Of each thread; the last is the main thread.
  std::uint64_t rounds[kThreads];
  std::uint64_t errors;
  std::uint64_t code; // of the last error: where in kill_subject.cc
};

} // namespace rrpcp::test
