// Reading clocks.
#pragma once

#include <cstdint>
#include <ctime>

namespace rrpcp {

// What clock_gettime(2) says, in nanoseconds.
inline std::int64_t read_clock(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// The time of day: nanoseconds since 1970-01-01 00:00 UTC.
inline std::int64_t wall_clock() {
  return read_clock(CLOCK_REALTIME);
}

} // namespace rrpcp
