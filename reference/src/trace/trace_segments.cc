#include "rrpcp/trace/trace_segments.h"

#include "rrpcp/format.h"
#include "rrpcp/store.h"
#include "rrpcp/trace/trace_format.h"
#include "rrpcp/trace/trace_reader.h"

#include <charconv>
#include <optional>

namespace rrpcp {

namespace {

// More would be of no use, and products of it and numbers of events fit into 64 bits.
constexpr std::uint64_t kMostShares = 1'000'000;

// The event from which on a replay from the state tells all; nothing where it cannot be used.
std::optional<std::int64_t> first_event_from(const Header& header) {
  switch (header.position_kind) {
  case format::kPositionAtEvent:
    return header.event;
  case format::kPositionBetween:
    return header.event + 1;
  default:
    return std::nullopt;
  }
}

std::optional<std::uint64_t> number_in(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value)
                                                                  : std::nullopt;
}

} // namespace

std::vector<TraceSegment>
trace_segments(const std::string& trace_directory,
               const std::function<void(const std::string&, const Error&)>& warn) {
  const TraceReader trace = TraceReader::open(trace_directory);
  const std::int64_t end = trace.event_count() + 1;
  const auto pass_over = [&](const StoreEntry& entry, const Error& problem) {
    if (warn) {
      warn(entry.path, problem);
    }
  };
  std::vector<TraceSegment> segments;
  if (end == 1) {
    return segments;
  }
  segments.push_back({1, end, ""});
  const Store store(trace_directory + "/" + std::string(trace_format::kCheckpointsName));
  for (const StoreEntry& entry : store.list()) {
    if (entry.problem) {
      pass_over(entry, *entry.problem);
      continue;
    }
    if (entry.header.trace_uuid != trace.uuid()) {
      pass_over(entry, Error(ErrorCode::kForeignTrace, "it belongs to trace " +
                                                           entry.header.trace_uuid.to_string() +
                                                           ", not to this one"));
      continue;
    }
    const std::optional<std::int64_t> first = first_event_from(entry.header);
    if (!first) {
      pass_over(entry, Error(ErrorCode::kUnsupportedState,
                             "this program does not know where in the trace it is"));
      continue;
    }
    // Behind the last event there is nothing to begin with.
    if (*first < end) {
      segments.back().end = *first;
      segments.push_back({*first, end, entry.path});
    }
  }
  return segments;
}

SegmentShare parse_segment_share(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash != std::string_view::npos) {
    const std::optional<std::uint64_t> number = number_in(text.substr(0, slash));
    const std::optional<std::uint64_t> count = number_in(text.substr(slash + 1));
    if (number && count && *number >= 1 && *number <= *count && *count <= kMostShares) {
      return {*number, *count};
    }
  }
  throw Error(ErrorCode::kInvalidArgument, "'" + std::string(text) +
                                               "' is not I/N with I from 1 to N, N at most " +
                                               std::to_string(kMostShares));
}

std::vector<TraceSegment> segments_of_share(const std::vector<TraceSegment>& segments,
                                            SegmentShare share) {
  std::vector<TraceSegment> own;
  if (segments.empty()) {
    return own;
  }
  // A segment belongs to the share in whose part of the events its middle lies.
  const auto events = static_cast<std::uint64_t>(segments.back().end - 1);
  for (const TraceSegment& segment : segments) {
    const auto twice_middle = static_cast<std::uint64_t>(segment.first - 1 + segment.end - 1);
    const std::uint64_t number = twice_middle * share.count / (2 * events) + 1;
    if (number == share.number) {
      own.push_back(segment);
    }
  }
  return own;
}

} // namespace rrpcp
