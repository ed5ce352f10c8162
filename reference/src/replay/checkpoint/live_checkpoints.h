// Several checkpoints of one recording, kept alive: their processes stand still and replays are
// forked from them.
#pragma once

#include "replay/checkpoint/process_group.h"
#include "replay/engine/replay_session.h"
#include "rrpcp/reader.h"

#include <cstddef>
#include <memory>
#include <string>
#include <sys/types.h>
#include <vector>

namespace rrpcp::replay {

// Checkpoint N + 1 is made from the live one of N by forking its processes and changing what
// differs: what no event between them has written is in memory once. Where that cannot be (another
// program by then), it is restored on its own. Use from one thread: it traces
// the processes, which end with this object.
class LiveCheckpoints {
public:
  // `share` false: each checkpoint is restored on its own.
  explicit LiveCheckpoints(std::string trace_directory, bool share = true)
      : trace_directory_(std::move(trace_directory)), share_(share) {}
  ~LiveCheckpoints();
  LiveCheckpoints(const LiveCheckpoints&) = delete;
  LiveCheckpoints& operator=(const LiveCheckpoints&) = delete;

  // Makes the checkpoint `path` live and returns its number. Throws Error as restore_session does.
  std::size_t add(const std::string& path);
  std::size_t size() const { return live_.size(); }
  // Whether it shares memory with the one before it.
  bool is_forked(std::size_t number) const { return live_[number].forked; }
  // Ids of its processes, by the kernel.
  std::vector<pid_t> processes(std::size_t number) const;
  // Proportional set size (smaps_rollup of proc(5)) of all live checkpoints, in bytes.
  std::uint64_t memory() const;
  // A replay that starts there; the checkpoint stays live. Throws Error.
  std::unique_ptr<ReplaySession> start(std::size_t number, ReplayOptions options);

private:
  struct Live {
    std::unique_ptr<CheckpointReader> reader;
    RestoredGroup group;
    bool forked = false;
  };

  const std::string trace_directory_;
  const bool share_;
  std::vector<Live> live_;
};

} // namespace rrpcp::replay
