// Starting a replay near a target: from the newest checkpoint before it that can be used.
#pragma once

#include "replay/engine/replay_session.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace rrpcp::replay {

struct StartOptions {
  // Event that is to be reached; 1: the start.
  std::int64_t target = 1;
  // Use no checkpoint.
  bool ignore_checkpoints = false;
  // Told of every checkpoint that is passed over because it cannot be used, and why. May be empty.
  std::function<void(const std::string& warning)> warn = {};
};

struct StartedSession {
  std::unique_ptr<ReplaySession> session;
  // Path of the checkpoint that it was started from; empty: from the start.
  std::string checkpoint;
};

// A session that stands at or before the target, as near to it as the usable checkpoints of the
// trace allow. A checkpoint that is missing, damaged, foreign or of a newer format is passed over:
// an older one is tried, and in the end the start of the trace. Throws Error only for what is
// wrong with the trace itself.
StartedSession start_session(const std::string& trace_directory, const ReplayOptions& options,
                             const StartOptions& start);

} // namespace rrpcp::replay
