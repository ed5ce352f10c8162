// The clocks that a restored process sees.
#pragma once

#include "base/scoped_fd.h"
#include "process/restore/obstacles.h"
#include "rrpcp/schema/state.capnp.h"

namespace rrpcp::process::restore {

// CLOCK_MONOTONIC and CLOCK_BOOTTIME must not go back, and where the machine was started anew, or
// the process was in a time namespace, they would. So children of the calling thread that are made
// while an object of this class lives are in a time namespace (time_namespaces(7)) in which these
// clocks go on from where they were: by what they had been in the namespace of the process where
// the machine is the same, else from their values at capture. Where the calling thread lacks the
// privilege for that, the obstacles get a warning. Nothing is done where the clocks are right.
class TimeNamespace {
public:
  TimeNamespace(schema::State::Reader state, Obstacles& obstacles);
  TimeNamespace(const TimeNamespace&) = delete;
  TimeNamespace& operator=(const TimeNamespace&) = delete;
  // Children are in the calling thread's own namespace again.
  ~TimeNamespace();

private:
  ScopedFd own_; // the namespace of children before; empty: nothing was changed
};

} // namespace rrpcp::process::restore
