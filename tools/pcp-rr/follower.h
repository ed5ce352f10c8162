// A replay of a recording beside the recorder, while it is being made.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <sys/types.h>

namespace rrpcp::tools {

struct FollowerOptions {
  // Make a checkpoint every so many events. 0: none.
  std::int64_t interval = 0;
  // Tell the recorder where the replay differs from the recording; compare memory too, where the
  // recording has digests of it.
  bool check = false;
};

// A process beside the recorder that replays what was recorded so far, to make checkpoints of it or
// to see that it can be replayed: the state at an event of a deterministic replay is that of the
// recorded program, which so is not stopped for it. It is not a child of the caller, whose
// waitpid(2) must not meet it, and has a session of its own, so that signals of the terminal do not
// reach it. It ends when the recording has ended and it has come to its end, and with a recorder
// that is killed.
class Follower {
public:
  // Starts it for the trace that is about to be recorded in `directory`. To be called while the
  // calling process has a single thread. Throws Error.
  Follower(const std::string& directory, const FollowerOptions& options);
  Follower(const Follower&) = delete;
  Follower& operator=(const Follower&) = delete;
  // Ends it, where wait() was not called.
  ~Follower();

  // What differs; nothing as long as nothing does. While there is something, the follower sends
  // kTold to the calling process, so that no wait goes on.
  std::optional<std::string> divergence() const;
  static constexpr int kTold = 23; // SIGURG, which is ignored unless it is handled

  // Waits until it has come to the end of the recording, or tells of a divergence.
  void wait();

private:
  struct Message;

  Message* message_ = nullptr; // shared with it
  int end_ = -1;               // of a pipe that it keeps open as long as it lives
  int alive_ = -1;             // of a pipe that it sees closed when the caller is gone
};

} // namespace rrpcp::tools
