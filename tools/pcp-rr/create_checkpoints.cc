// pcp-rr create-checkpoints: makes checkpoints of a recording.

#include "common/json.h"
#include "common/progress.h"
#include "common/text.h"
#include "pcp-rr/pcp_rr.h"
#include "rrpcp/replay/replay_checkpoints.h"
#include "rrpcp/trace/trace_directory.h"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

namespace rrpcp::tools {
namespace {

constexpr const char* kCreateCheckpointsDetails =
    R"(Replays the recording once and saves a checkpoint at the first event at or after each multiple of
N (with -s: EVT, EVT + N, ...) where one can be taken, or with --interval-ms about every M
milliseconds of the replay, also while the program computes between two events. Checkpoints that are
there already are kept. A checkpoint stores what changed since the one before it, and needs that one
and those that it needs itself; after some, and where that would make it slow to read, a full one
follows (spec/series.md; pcp-prune(1) removes what is not needed any more). Any number of these commands, and replays, may run at the same time.

Exit codes: 0 done, others as pcp-rr(1) lists them.

Examples:
  pcp-rr create-checkpoints -i 10000
  pcp-rr create-checkpoints --interval-ms 500 -s 20000 -e 90000 /tmp/trace)";

std::int64_t positive(const Arguments& arguments, const std::string& name) {
  const auto value = static_cast<std::int64_t>(parse_number(arguments.get(name), "--" + name));
  if (value <= 0) {
    throw UsageError("--" + name + " must be above 0");
  }
  return value;
}

} // namespace

int rr_create_checkpoints(int argc, char** argv, Console& console) {
  Command command({"pcp-rr create-checkpoints", "{-i N | --interval-ms M} [OPTION]... [TRACE]",
                   "Makes checkpoints of a recording, for replays to start from.",
                   kCreateCheckpointsDetails});
  command.add("i,interval", "one every N events", "N");
  command.add("interval-ms", "one about every M milliseconds", "M");
  command.add("s,start", "none before event EVT", "EVT");
  command.add("e,end", "none after event EVT", "EVT");
  command.add("profile", "how pages are stored: raw, fast, default or small", "PROFILE", "fast");
  command.add(
      "bases",
      "let a checkpoint take over pages of at most N earlier ones; 0: each stores all memory", "N",
      "8");
  command.add("ignore-pcp", "do not start from a checkpoint that is there already");
  command.add("follow", "of a recording that is still going on: until it ends");
  command.add_quiet().add_json();
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(0, 1, "TRACE");
  if (arguments.has("interval") == arguments.has("interval-ms")) {
    throw UsageError("give either -i N or --interval-ms M");
  }
  CreationOptions options;
  if (arguments.has("interval")) {
    options.event_interval = positive(arguments, "interval");
  } else {
    options.time_interval = std::chrono::milliseconds(positive(arguments, "interval-ms"));
  }
  options.start = arguments.has("start") ? positive(arguments, "start") : 0;
  options.end = arguments.has("end") ? positive(arguments, "end") : 0;
  options.writer.profile = parse_profile(arguments.get("profile"));
  options.max_bases = static_cast<std::uint32_t>(
      parse_number(arguments.get("bases"), "--bases", format::kMaxBases));
  options.ignore_checkpoints = arguments.has("ignore-pcp");
  options.follow = arguments.has("follow");
  options.warn = [&](const std::string& text) { console.warn(text); };
  Progress progress(console, "Replaying", Progress::Unit::kItems);
  options.progress = [&](std::int64_t event, std::int64_t last) {
    progress.update(static_cast<std::uint64_t>(event), static_cast<std::uint64_t>(last));
  };
  const CreationResult result = create_checkpoints(
      find_trace(arguments.positional().empty() ? "" : arguments.positional()[0]), options);
  progress.clear();
  if (console.json) {
    console.write_json(Json{{"checkpoints", result.checkpoints},
                            {"between", result.between},
                            {"incremental", result.incremental},
                            {"bytes", result.bytes},
                            {"event", result.reached}});
  } else if (!console.quiet) {
    console.print("%llu checkpoints up to event %lld, %s\n",
                  static_cast<unsigned long long>(result.checkpoints),
                  static_cast<long long>(result.reached), human_size(result.bytes).c_str());
  }
  return kExitOk;
}

} // namespace rrpcp::tools
