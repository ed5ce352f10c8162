// pcp-prune: removes checkpoints that are not worth their space, never one that another needs.

#include "common/command.h"
#include "common/console.h"
#include "common/exit_code.h"
#include "common/json.h"
#include "common/table.h"
#include "common/text.h"
#include "common/tool_main.h"
#include "rrpcp/compat/legacy.h"
#include "rrpcp/error.h"
#include "rrpcp/store.h"
#include "rrpcp/trace/trace_format.h"

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

namespace rrpcp::tools {
namespace {

namespace fs = std::filesystem;
using Fate = PruneEntry::Fate;

constexpr const char* kDetails =
    R"(TRACE is a trace of pcp-rr or rr, or a directory of *.pcp files. Every limit that is given applies;
without one nothing is removed. A checkpoint that another one takes over pages of stays as long as that
one does. May run beside replays, and while checkpoints are being made; an interrupted run has removed
some and left everything else whole.

Exit codes:
  0  done
  1  what is kept has more bytes than --max-size
  2  wrong usage, or the directory could not be read or changed

Examples:
  pcp-prune --spacing 100000 ~/.local/share/pcp-rr/latest-trace
  pcp-prune --max-age 30d --max-size 2G --dry-run trace)";

// Where the checkpoints of what the user names are.
std::string directory_of(const std::string& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    throw Error(error ? ErrorCode::kNotFound : ErrorCode::kInvalidArgument,
                error ? "cannot read the directory: " + error.message() : "this is no directory")
        .in_file(path);
  }
  const auto inside = [&](std::string_view name) { return (fs::path(path) / name).string(); };
  if (fs::exists(inside(trace_format::kEventsName), error)) {
    return inside(trace_format::kCheckpointsName);
  }
  return is_trace_directory(path) ? inside(kTraceStoreName) : path;
}

// "90", "90s", "15m", "12h", "30d": seconds.
std::int64_t parse_age(const std::string& text) {
  const std::string units = "smhd";
  const std::int64_t seconds[] = {1, 60, 3600, 86400};
  const std::size_t unit = text.empty() ? std::string::npos : units.find(text.back());
  const std::string number = unit == std::string::npos ? text : text.substr(0, text.size() - 1);
  const std::int64_t factor = unit == std::string::npos ? 1 : seconds[unit];
  const auto age = static_cast<std::int64_t>(
      parse_number(number, "--max-age", static_cast<std::uint64_t>(INT64_MAX / factor)));
  if (age == 0) {
    throw UsageError("--max-age must be above 0");
  }
  return age * factor;
}

const char* fate_name(Fate fate) {
  switch (fate) {
  case Fate::kKept:
    return "kept";
  case Fate::kNeeded:
    return "needed";
  case Fate::kInUse:
    return "in-use";
  case Fate::kRemoved:
    return "removed";
  case Fate::kUnknown:
    return "unknown";
  }
  return "unknown";
}

struct Sums {
  std::uint64_t removed = 0;
  std::uint64_t removed_bytes = 0;
  std::uint64_t kept = 0;
  std::uint64_t kept_bytes = 0;
};

Sums sums_of(const std::vector<PruneEntry>& entries) {
  Sums sums;
  for (const PruneEntry& entry : entries) {
    const bool removed = entry.fate == Fate::kRemoved;
    (removed ? sums.removed : sums.kept) += 1;
    (removed ? sums.removed_bytes : sums.kept_bytes) += entry.bytes;
  }
  return sums;
}

Json to_json(const std::string& directory, const std::vector<PruneEntry>& entries, bool dry_run) {
  Json list = Json::array();
  for (const PruneEntry& entry : entries) {
    list.push_back({{"file", json_bytes_as_text(fs::path(entry.path).filename().string())},
                    {"checkpointId", entry.id ? Json(entry.id->to_string()) : Json()},
                    {"event", entry.event},
                    {"bytes", entry.bytes},
                    {"fate", fate_name(entry.fate)}});
  }
  const Sums sums = sums_of(entries);
  return Json{{"directory", json_bytes_as_text(directory)},
              {"dryRun", dry_run},
              {"checkpoints", std::move(list)},
              {"removed", sums.removed},
              {"removedBytes", sums.removed_bytes},
              {"kept", sums.kept},
              {"keptBytes", sums.kept_bytes}};
}

void show(Console& console, const std::vector<PruneEntry>& entries, bool dry_run) {
  Table table({{"EVENT", true}, {"SIZE", true}, {"FATE"}, {"FILE"}});
  for (const PruneEntry& entry : entries) {
    table.add({std::to_string(entry.event), human_size(entry.bytes), fate_name(entry.fate),
               printable(fs::path(entry.path).filename().string())});
  }
  if (!table.empty()) {
    table.print(console);
  }
  const Sums sums = sums_of(entries);
  console.print("%s %s (%s), %s kept (%s)\n",
                human_count(sums.removed, "checkpoint", "checkpoints").c_str(),
                dry_run ? "would be removed" : "removed", human_size(sums.removed_bytes).c_str(),
                std::to_string(sums.kept).c_str(), human_size(sums.kept_bytes).c_str());
}

int run(int argc, char** argv, Console& console) {
  Command command({"pcp-prune", "[OPTION]... TRACE",
                   "Removes checkpoints of a trace, never one that another one needs which stays.",
                   kDetails});
  command.add("spacing", "keep none that lies less than N events behind the last one kept", "N");
  command.add("max-age", "keep none that was made longer ago (as 90s, 15m, 12h, 30d)", "AGE");
  command.add("max-size", "keep no more bytes than this; the oldest go first (as 500M, 2G)",
              "SIZE");
  command.add("dry-run", "tell what would be removed, and remove nothing");
  command.add_json();
  command.add_quiet();
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(1, 1, "TRACE");
  PruneOptions options;
  if (arguments.has("spacing")) {
    options.spacing =
        static_cast<std::int64_t>(parse_number(arguments.get("spacing"), "--spacing", INT64_MAX));
  }
  if (arguments.has("max-age")) {
    options.max_age = parse_age(arguments.get("max-age"));
  }
  if (arguments.has("max-size")) {
    options.max_bytes = parse_size(arguments.get("max-size"), "--max-size");
    if (options.max_bytes == 0) {
      throw UsageError("--max-size must be above 0");
    }
  }
  options.dry_run = arguments.has("dry-run");
  const std::string directory = directory_of(arguments.positional()[0]);
  const std::vector<PruneEntry> entries = prune_checkpoints(directory, options);
  if (console.json) {
    console.write_json(to_json(directory, entries, options.dry_run));
  } else if (!console.quiet) {
    show(console, entries, options.dry_run);
  }
  const bool too_large = options.max_bytes != 0 && sums_of(entries).kept_bytes > options.max_bytes;
  if (too_large && !console.json) {
    console.warn("what is kept has more bytes than --max-size: it is needed, in use or unknown");
  }
  return too_large ? kExitNo : kExitOk;
}

} // namespace
} // namespace rrpcp::tools

int main(int argc, char** argv) {
  return rrpcp::tools::run_tool("pcp-prune", argc, argv, rrpcp::tools::run);
}
