// Replaying a recording from one checkpoint to the next, and comparing the state with it: the
// engine behind `pcp-validate --replay`.
#pragma once

#include "rrpcp/diagnostic.h"
#include "rrpcp/export.h"
#include "rrpcp/reader.h"
#include "rrpcp/trace/trace_segments.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace RRPCP_PUBLIC rrpcp {

struct SegmentReplaySettings {
  // Says what differs between the state that a checkpoint stores and the one that the replay came
  // to, a sentence for each thing; empty where nothing does. What tells of the machine on which
  // each was made may differ. Must be given. The readers live as long as the call.
  std::function<std::vector<std::string>(const CheckpointReader& stored,
                                         const CheckpointReader& replayed)>
      compare;
  // Findings of one comparison; the last of them says how many more there were.
  std::size_t max_differences = 20;
  // Called now and then with the event that was reached and the end of the segment.
  std::function<void(std::int64_t event, std::int64_t end)> progress = {};
  std::function<void(const std::string& warning)> warn = {};
};

struct SegmentReplay {
  // Finding::file is the checkpoint that they are about: that at the end where the state differs
  // from it, that at the start (or the trace) where the replay did not come there.
  std::vector<Finding> findings;
  // Event that was reached.
  std::int64_t reached = 0;
  // Whether a state was compared with that of a checkpoint; false at the end of the recording.
  bool compared = false;
};

// Replays segments of one trace. Use from one thread: it traces the processes.
class SegmentReplayer {
public:
  SegmentReplayer(std::string trace_directory, SegmentReplaySettings settings);
  SegmentReplayer(SegmentReplayer&&) noexcept;
  ~SegmentReplayer();

  // Replays `segment` from its own checkpoint, never another one, to the place of `next`, the
  // checkpoint of the segment behind it, and compares all of the state and of memory; where `next`
  // is empty, to the end of the recording. On the way everything is compared that a replay
  // compares, digests of memory too where the trace has them.
  //
  // A checkpoint between two events is looked for where the program comes by with the registers
  // that it stores. Where that takes too long, or cannot be told, both go on to the next event and
  // are compared there: what has no effect up to there is not noticed then, which is a finding
  // (kInfo).
  //
  // Throws Error for what is wrong with neither: kBackingFile, kUnsupportedState (this machine
  // cannot run the program), kNoSpace, kProcessGone, … and for a checkpoint that cannot be read.
  SegmentReplay replay(const TraceSegment& segment, const std::string& next);

private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

} // namespace rrpcp
