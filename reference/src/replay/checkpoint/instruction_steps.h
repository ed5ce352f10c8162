// Executing a replayed task instruction by instruction between two of its events.
#pragma once

#include "replay/engine/replay_session.h"

#include <functional>

namespace rrpcp::replay {

// Steps once; false where the task stands at its event, or does not run to it.
bool step_instruction(ReplaySession& session);

// Steps the task of the current event through its own instructions, up to the one with which the
// event begins (a system call, a trapped or a faulting instruction), which it does not execute, and
// calls `stepped` after each. A string instruction counts when it is through. Does nothing where
// the task does not run to the event, as within a system call. The session goes on as usual then:
// ReplaySession::step() applies the event. Throws Error.
void step_instructions(ReplaySession& session, const std::function<void()>& stepped);

} // namespace rrpcp::replay
