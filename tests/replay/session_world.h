// The world of a replay: what can be seen of its processes from outside, and all that its
// supervisor knows.
#pragma once

#include "process/world.h"
#include "replay/engine/replay_session.h"

#include <map>
#include <string>
#include <vector>

namespace rrpcp::test {

struct SessionWorld {
  // By recorded pid; threads by recorded tid.
  std::map<pid_t, World> processes;
  // "event", "task 12 ticks", "object 0 path", …
  std::map<std::string, std::string> supervisor;
};

// Every field of a supervisor's state as text.
std::map<std::string, std::string> supervisor_facts(const replay::SupervisorState& state);

// Brings every task into an event stop and looks at it. The session goes on unharmed.
SessionWorld world_of(replay::ReplaySession& session);

// Every difference, as "process 12: thread 13: rip: 0x1 vs 0x2"; at most `limit`.
std::vector<std::string> differences(const SessionWorld& a, const SessionWorld& b,
                                     std::size_t limit = 20);

} // namespace rrpcp::test
