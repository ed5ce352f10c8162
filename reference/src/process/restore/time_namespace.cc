#include "process/restore/time_namespace.h"

#include "base/clock.h"
#include "process/namespaces.h"

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sched.h>
#include <string>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <vector>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

namespace rrpcp::process::restore {

namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

bool is_same_start(schema::Clocks::Reader clocks) {
  const std::vector<std::byte> now = read_boot_id();
  const capnp::Data::Reader then = clocks.getBootId();
  return then.size() == 0 ||
         (now.size() == then.size() && std::memcmp(now.data(), then.begin(), now.size()) == 0);
}

// What has to be added to the machine's clocks.
ClockOffsets wanted_offsets(schema::State::Reader state, const ClockOffsets& own) {
  const schema::Clocks::Reader clocks = state.getClocks();
  if (is_same_start(clocks)) {
    const schema::NamespaceSet::Reader set = state.getNamespaceSets()[0];
    return {set.getMonotonicOffset(), set.getBoottimeOffset()};
  }
  return {clocks.getMonotonic() - (read_clock(CLOCK_MONOTONIC) - own.monotonic),
          clocks.getBoottime() - (read_clock(CLOCK_BOOTTIME) - own.boottime)};
}

// Of the thread, not of its process: proc(5).
bool write_offsets(const ClockOffsets& offsets) {
  const std::string path = "/proc/" + std::to_string(::syscall(SYS_gettid)) + "/timens_offsets";
  const ScopedFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  char text[128];
  auto floor = [](std::int64_t value) { // seconds may be negative, nanoseconds not
    return value / kSecond - (value % kSecond < 0 ? 1 : 0);
  };
  const std::int64_t monotonic = floor(offsets.monotonic);
  const std::int64_t boottime = floor(offsets.boottime);
  const int length = std::snprintf(
      text, sizeof text, "monotonic %" PRId64 " %" PRId64 "\nboottime %" PRId64 " %" PRId64 "\n",
      monotonic, offsets.monotonic - monotonic * kSecond, boottime,
      offsets.boottime - boottime * kSecond);
  return file && ::write(file.get(), text, static_cast<std::size_t>(length)) == length;
}

} // namespace

TimeNamespace::TimeNamespace(schema::State::Reader state, Obstacles& obstacles) {
  if (!state.hasClocks() || state.getNamespaceSets().size() == 0) {
    return;
  }
  const ClockOffsets own = read_clock_offsets(0);
  const ClockOffsets wanted = wanted_offsets(state, own);
  if (wanted.monotonic == own.monotonic && wanted.boottime == own.boottime) {
    return;
  }
  ScopedFd before(::open("/proc/thread-self/ns/time_for_children", O_RDONLY | O_CLOEXEC));
  if (before && ::unshare(CLONE_NEWTIME) == 0) {
    own_ = std::move(before);
    if (write_offsets(wanted)) {
      return;
    }
  }
  const std::int64_t jump = (own.monotonic - wanted.monotonic) / kSecond;
  obstacles.warn("CLOCK_MONOTONIC jumps by " + std::to_string(jump) +
                 " s, because no time namespace could be made (" + std::strerror(errno) +
                 "): deadlines on it are " + (jump < 0 ? "late" : "early") + " by as much");
}

TimeNamespace::~TimeNamespace() {
  if (own_) {
    ::setns(own_.get(), CLONE_NEWTIME);
  }
}

} // namespace rrpcp::process::restore
