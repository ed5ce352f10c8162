// Checkpoints of a recording while it is being made.
#pragma once

#include <cstdint>
#include <string>

namespace rrpcp::tools {

// A process beside the recorder that replays what was recorded so far and makes checkpoints of it:
// the state at an event of a deterministic replay is that of the recorded program, which so is not
// stopped for them. It is not a child of the caller, whose waitpid(2) must not meet it, and has a
// session of its own, so that signals of the terminal do not reach it. It ends when the recording
// has ended and its last checkpoint is made.
class Checkpointer {
public:
  // Starts it for the trace that is about to be recorded in `directory`; one checkpoint every
  // `interval` events. To be called while the calling process has a single thread. Throws Error.
  Checkpointer(const std::string& directory, std::int64_t interval);
  Checkpointer(const Checkpointer&) = delete;
  Checkpointer& operator=(const Checkpointer&) = delete;
  // Waits for its end, as wait() does.
  ~Checkpointer();

  void wait();

private:
  int end_ = -1; // of a pipe that it keeps open as long as it lives
};

} // namespace rrpcp::tools
