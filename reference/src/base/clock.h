// Reading clocks.
#pragma once

#include <cstdint>
#include <ctime>

namespace rrpcp {

inline std::int64_t nanoseconds(const timespec& time) {
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

// What clock_gettime(2) says, in nanoseconds.
inline std::int64_t read_clock(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return nanoseconds(now);
}

// The time of day: nanoseconds since 1970-01-01 00:00 UTC.
inline std::int64_t wall_clock() {
  return read_clock(CLOCK_REALTIME);
}

} // namespace rrpcp
