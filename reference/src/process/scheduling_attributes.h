// How a thread is scheduled, as the kernel tells and takes it.
#pragma once

#include <cstdint>

namespace rrpcp::process {

// struct sched_attr of linux/sched/types.h: sched_getattr(2), sched_setattr(2).
struct SchedulingAttributes {
  std::uint32_t size;
  std::uint32_t policy;
  std::uint64_t flags;
  std::int32_t nice;
  std::uint32_t priority;
  std::uint64_t runtime;
  std::uint64_t deadline;
  std::uint64_t period;
  std::uint32_t utilization_minimum;
  std::uint32_t utilization_maximum;
};
static_assert(sizeof(SchedulingAttributes) == 56);

// IOPRIO_WHO_PROCESS of linux/ioprio.h: ioprio_get(2), ioprio_set(2) of one thread.
inline constexpr int kIoprioWhoProcess = 1;

} // namespace rrpcp::process
