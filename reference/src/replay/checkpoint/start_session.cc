#include "replay/checkpoint/start_session.h"

#include "replay/checkpoint/session_checkpoint.h"
#include "rrpcp/error.h"
#include "rrpcp/format.h"
#include "rrpcp/store.h"

#include <optional>
#include <utility>
#include <vector>

namespace rrpcp::replay {

namespace {

// Whether the state lies at or before the boundary of event `target`. One that was taken on the way
// to an event lies behind that event's boundary.
bool is_before(const Header& header, std::int64_t target) {
  return header.position_kind == format::kPositionBetween ? header.event < target
                                                          : header.event <= target;
}

} // namespace

StartedSession start_session(const std::string& trace_directory, const ReplayOptions& options,
                             const StartOptions& start) {
  auto warn = [&](const std::string& path, const Error& error) {
    if (start.warn) {
      const Error named = error.file().empty() ? error.in_file(path) : error;
      std::string text = named.what();
      if (named.file() != path) {
        text = path + ": " + text;
      }
      start.warn("passing over a checkpoint: " + text);
    }
  };
  if (!start.ignore_checkpoints && start.target > 1) {
    const TraceUuid uuid = TraceReader::open(trace_directory).uuid();
    std::vector<StoreEntry> entries;
    try {
      entries = checkpoint_store(trace_directory).list();
    } catch (const Error& error) {
      warn(checkpoint_store(trace_directory).directory(), error);
    }
    for (std::size_t i = entries.size(); i-- > 0;) {
      const StoreEntry& entry = entries[i];
      if (entry.problem) {
        warn(entry.path, *entry.problem);
        continue;
      }
      if (!is_before(entry.header, start.target)) {
        continue;
      }
      if (entry.header.trace_uuid != uuid) {
        warn(entry.path, Error(ErrorCode::kForeignTrace, "it belongs to trace " +
                                                             entry.header.trace_uuid.to_string() +
                                                             ", not to this one"));
        continue;
      }
      try {
        const CheckpointReader reader = CheckpointReader::open(entry.path);
        return {restore_session(trace_directory, options, reader), entry.path};
      } catch (const Error& error) {
        warn(entry.path, error);
      }
    }
  }
  return {std::make_unique<ReplaySession>(trace_directory, options), ""};
}

} // namespace rrpcp::replay
