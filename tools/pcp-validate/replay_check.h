// Judging the checkpoints of a trace by replays of it.
#pragma once

#include "common/console.h"
#include "rrpcp/diagnostic.h"
#include "rrpcp/error.h"
#include "rrpcp/trace/trace_segments.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace rrpcp::tools {

// A segment of a trace and what became of its replay.
struct ReplayedSegment {
  // Counted from 1 among all of the trace.
  std::uint64_t number = 0;
  TraceSegment segment;
  // Path of the checkpoint at its end; empty: the recording ends there.
  std::string next;
  std::vector<Finding> findings;
  // Why it could not be replayed.
  std::optional<Error> problem;
};

// The segments of `share` of the trace, in order, not replayed yet. Tells `console` of checkpoints
// that cut nothing. Throws Error.
std::vector<ReplayedSegment> segments_to_replay(const std::string& trace, SegmentShare share,
                                                Console& console);

// Replays one and fills in what was found. Shows its progress on `console`.
class ReplayCheck {
public:
  ReplayCheck(const std::string& trace, Console& console);
  ~ReplayCheck();
  void replay(ReplayedSegment& segment);

private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

} // namespace rrpcp::tools
