// A recording in pieces that can be replayed side by side: its checkpoints cut it.
#pragma once

#include "rrpcp/error.h"
#include "rrpcp/export.h"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace RRPCP_PUBLIC rrpcp {

// Consecutive events that a replay can begin with.
struct TraceSegment {
  // Its first event, and one more than its last. Equal where another checkpoint lies at the same
  // event, or between the same two.
  std::int64_t first = 1;
  std::int64_t end = 1;
  // Path of the checkpoint to start from; empty: the start of the trace. One that was taken between
  // two events lies on the way to the event before `first`.
  std::string checkpoint;
};

// The segments of the trace in `trace_directory` in their order: all its events, each once. There
// is one for the start, which none is before, and for each checkpoint of its store that can be
// used. Others (damaged as far as header and footer show, of another trace or a newer format) cut
// nothing; `warn`, where given, is told of each. Reads no page data. Empty for a trace without
// events. Throws Error as TraceReader::open and Store::list do.
std::vector<TraceSegment>
trace_segments(const std::string& trace_directory,
               const std::function<void(const std::string& path, const Error& problem)>& warn = {});

// One of `count` shares of all segments, counted from 1; there are at most 1,000,000.
struct SegmentShare {
  std::uint64_t number = 1;
  std::uint64_t count = 1;
};

// "3/16". Throws Error(kInvalidArgument) for anything else, and where the number is not among
// 1 to the count, or that above its limit.
SegmentShare parse_segment_share(std::string_view text);

// The segments of a share: consecutive ones. Shares 1 to `count` together are all of `segments`,
// each once and in order, with about the same number of events; with more shares than segments some
// are empty.
std::vector<TraceSegment> segments_of_share(const std::vector<TraceSegment>& segments,
                                            SegmentShare share);

} // namespace rrpcp
