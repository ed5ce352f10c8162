#include "pcp-validate/replay_check.h"

#include "common/progress.h"
#include "common/text.h"
#include "common/tool_main.h"
#include "diff/diff_report.h"
#include "diff/state_diff.h"
#include "rrpcp/replay/segment_replay.h"

#include <kj/exception.h>

namespace rrpcp::tools {

struct ReplayCheck::Impl {
  Impl(const std::string& trace, Console& console)
      : trace_directory(trace), output(console), replayer(trace, settings()) {}

  SegmentReplaySettings settings() {
    SegmentReplaySettings settings;
    settings.compare = [this](const CheckpointReader& stored, const CheckpointReader& replayed) {
      return differences(stored, replayed);
    };
    settings.progress = [this](std::int64_t event, std::int64_t end) {
      if (progress) {
        progress->update(static_cast<std::uint64_t>(event), static_cast<std::uint64_t>(end));
      }
    };
    settings.warn = [this](const std::string& text) { output.warn(printable(text)); };
    return settings;
  }

  // A is the checkpoint, B the replay.
  std::vector<std::string> differences(const CheckpointReader& stored,
                                       const CheckpointReader& replayed) {
    progress->clear();
    std::vector<std::string> lines;
    DiffReport report([&](const std::string& line) { lines.push_back(line); });
    DiffOptions options;
    options.files.trace_directory = trace_directory;
    options.max_ranges = 4;
    options.of_replays = true;
    try {
      compare_checkpoints(report, stored, replayed, options, output);
    } catch (const kj::Exception& exception) {
      throw error_from(exception, stored.name());
    }
    return lines;
  }

  std::string trace_directory;
  Console& output;
  std::optional<Progress> progress;
  SegmentReplayer replayer;
};

ReplayCheck::ReplayCheck(const std::string& trace, Console& console)
    : impl_(std::make_unique<Impl>(trace, console)) {}

ReplayCheck::~ReplayCheck() = default;

void ReplayCheck::replay(ReplayedSegment& segment) {
  impl_->progress.emplace(impl_->output, "Replaying segment " + std::to_string(segment.number),
                          Progress::Unit::kItems);
  try {
    segment.findings = impl_->replayer.replay(segment.segment, segment.next).findings;
  } catch (const Error& error) {
    segment.problem = error;
  }
  impl_->progress.reset();
}

std::vector<ReplayedSegment> segments_to_replay(const std::string& trace, SegmentShare share,
                                                Console& console) {
  const std::vector<TraceSegment> all = trace_segments(trace, [&](const std::string& path,
                                                                  const Error& problem) {
    console.warn(printable(path) + ": no segment begins there: " + printable(problem.message()));
  });
  const std::vector<TraceSegment> own = segments_of_share(all, share);
  std::vector<ReplayedSegment> out;
  // Those of a share follow each other.
  std::size_t index = 0;
  while (!own.empty() && all[index].checkpoint != own.front().checkpoint) {
    ++index;
  }
  for (const TraceSegment& segment : own) {
    ReplayedSegment& entry = out.emplace_back();
    entry.number = ++index;
    entry.segment = segment;
    entry.next = index < all.size() ? all[index].checkpoint : "";
  }
  return out;
}

} // namespace rrpcp::tools
