// pcp-validate: says everything that is wrong with checkpoints.

#include "common/command.h"
#include "common/console.h"
#include "common/json.h"
#include "common/progress.h"
#include "common/text.h"
#include "common/tool_main.h"
#ifdef RRPCP_LIVE
#include "pcp-validate/replay_check.h"
#endif
#include "rrpcp/compat/legacy.h"
#include "rrpcp/compat/validate.h"
#include "rrpcp/error.h"
#include "rrpcp/trace/trace_directory.h"
#include "rrpcp/trace/trace_reader.h"
#include "rrpcp/trace/trace_segments.h"
#include "rrpcp/trace/trace_validate.h"
#include "rrpcp/validate.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace rrpcp::tools {
namespace {

constexpr const char* kDetails = R"(Levels, each with all before it:
  structure   header, footer, sections, chunk table, manifest as bytes
  checksums   every byte of the page data, the checkpoint id, and the seal if there is one
  semantics   every rule about what the manifest says (the default)

--replay is the strongest check: every checkpoint of the trace must store the state that a replay
comes to which starts from the one before it. It runs the recorded programs, as pcp-rr replay does:
use it on recordings of your own. With --segment, N commands side by side (GNU parallel, Slurm) do
the work of one; the trace must not get or lose checkpoints meanwhile.

Exit codes:
  0  every file is valid (there may be warnings), and every replay came to what is stored
  1  a file is invalid, or a replay did not
  2  a file could not be read or a segment not be replayed, or wrong usage

Examples:
  pcp-validate --level checksums ~/traces/latest-trace/pcp
  parallel pcp-validate --trace /tmp/trace --replay --segment {}/8 ::: {1..8})";

// What became of all files together.
struct Totals {
  std::uint64_t valid = 0;
  std::uint64_t invalid = 0;
  std::uint64_t unreadable = 0;
  // Segments that were replayed, of them those with findings that are errors, and others that could
  // not be.
  std::uint64_t replayed = 0;
  std::uint64_t wrong = 0;
  std::uint64_t unreplayed = 0;
};

// Says on standard error what the one document of --json has too.
void tell_error(Console& console, const Error& error) {
  const bool json = std::exchange(console.json, false);
  report_error(console, error);
  console.json = json;
}

// The *.pcp files of a directory, by name.
std::vector<std::string> checkpoints_in(const std::string& directory) {
  std::vector<std::string> files;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().extension() == ".pcp") {
      files.push_back(entry->path().string());
    }
  }
  if (error) {
    throw system_error(error.value(), "cannot list the directory").in_file(directory);
  }
  std::sort(files.begin(), files.end());
  return files;
}

void print_finding(Console& console, const Finding& finding) {
  std::string place;
  if (!finding.path.empty()) {
    place = finding.path + ": ";
  } else if (finding.offset) {
    place = "at byte " + std::to_string(*finding.offset) + ": ";
  }
  console.print("  %s [%s] %s%s\n", std::string(severity_name(finding.severity)).c_str(),
                std::string(finding.code).c_str(), place.c_str(),
                printable(finding.message).c_str());
}

void print_report(Console& console, const std::string& file, const ValidationReport& report,
                  ValidationLevel asked) {
  if (console.quiet && report.valid()) {
    return;
  }
  std::string verdict = report.valid() ? "valid" : "INVALID";
  std::string counts;
  for (Severity severity : {Severity::kError, Severity::kWarning, Severity::kInfo}) {
    if (std::uint64_t count = report.count(severity); count != 0 && severity != Severity::kInfo) {
      std::string name(severity_name(severity));
      counts += ", " + human_count(count, name, name + "s");
    }
  }
  console.print("%s: %s%s (%s, %s of page data checked%s)\n", printable(file).c_str(),
                verdict.c_str(), counts.c_str(),
                std::string(validation_level_name(report.reached)).c_str(),
                human_size(report.checked_bytes).c_str(), report.sealed ? ", seal compared" : "");
  std::string_view hint;
  for (const Finding& finding : report.findings) {
    if (console.quiet && finding.severity != Severity::kError) {
      continue;
    }
    print_finding(console, finding);
    if (finding.severity == Severity::kError && hint.empty()) {
      hint = finding.hint;
    }
  }
  for (const auto& [code, more] : report.suppressed) {
    console.print("  … and %llu more of [%s]\n", static_cast<unsigned long long>(more),
                  std::string(code).c_str());
  }
  if (report.reached < asked && !report.valid()) {
    console.print("  Damage left nothing to judge at level %s.\n",
                  std::string(validation_level_name(asked)).c_str());
  }
  if (!hint.empty()) {
    console.print("  What to do: %s\n", std::string(hint).c_str());
  }
}

Json json_findings(const std::vector<Finding>& list) {
  Json findings = Json::array();
  for (const Finding& finding : list) {
    Json entry;
    entry["code"] = finding.code;
    entry["severity"] = severity_name(finding.severity);
    entry["offset"] = finding.offset ? Json(*finding.offset) : Json(nullptr);
    entry["path"] = finding.path.empty() ? Json(nullptr) : Json(finding.path);
    entry["message"] = json_bytes_as_text(finding.message);
    entry["hint"] = finding.hint;
    findings.push_back(std::move(entry));
  }
  return findings;
}

Json json_report(const std::string& file, const ValidationReport& report) {
  Json suppressed = Json::object();
  for (const auto& [code, more] : report.suppressed) {
    suppressed[std::string(code)] = more;
  }
  Json out;
  out["file"] = json_bytes_as_text(file);
  out["valid"] = report.valid();
  out["id"] = report.id ? Json(report.id->to_string()) : Json(nullptr);
  out["level"] = validation_level_name(report.reached);
  out["errors"] = report.count(Severity::kError);
  out["warnings"] = report.count(Severity::kWarning);
  out["chunks"] = report.chunks;
  out["checkedBytes"] = report.checked_bytes;
  out["sealed"] = report.sealed;
  out["findings"] = json_findings(report.findings);
  out["suppressed"] = std::move(suppressed);
  return out;
}

int explain(Console& console, const std::string& code) {
  Json list = Json::array();
  bool found = false;
  for (const Diagnostic& diagnostic : diagnostics()) {
    if (code != "all" && diagnostic.code != code) {
      continue;
    }
    found = true;
    if (console.json) {
      Json entry;
      entry["code"] = diagnostic.code;
      entry["severity"] = severity_name(diagnostic.severity);
      entry["level"] = validation_level_name(diagnostic.level);
      entry["meaning"] = diagnostic.meaning;
      entry["cure"] = diagnostic.cure;
      list.push_back(std::move(entry));
      continue;
    }
    console.print("%s (%s, found at level %s)\n  %s\n  What to do: %s\n",
                  std::string(diagnostic.code).c_str(),
                  std::string(severity_name(diagnostic.severity)).c_str(),
                  std::string(validation_level_name(diagnostic.level)).c_str(),
                  std::string(diagnostic.meaning).c_str(), std::string(diagnostic.cure).c_str());
  }
  if (!found) {
    throw UsageError("there is no diagnostic '" + code + "'");
  }
  if (console.json) {
    console.write_json(list);
  }
  return kExitOk;
}

// Events of all checkpoints that can be opened.
std::vector<std::int64_t> events_of(const std::vector<std::string>& arguments) {
  std::vector<std::int64_t> events;
  auto add = [&](const std::string& file) {
    try {
      events.push_back(CheckpointReader::open(file).header().event);
    } catch (const Error&) {
      // Told when the file itself is judged.
    }
  };
  for (const std::string& argument : arguments) {
    std::error_code ignored;
    if (!std::filesystem::is_directory(argument, ignored)) {
      add(argument);
      continue;
    }
    try {
      for (const std::string& file : checkpoints_in(argument)) {
        add(file);
      }
    } catch (const Error&) {
      // Told when the directory is gone through.
    }
  }
  return events;
}

// What contradicts the trace in a checkpoint; empty where none was given.
using TraceCheck = std::function<std::vector<Finding>(const CheckpointReader&)>;

// Prepares the trace, rr's or pcp-rr's, for the events of the checkpoints in `paths`, which become
// those of the trace where there are none.
TraceCheck prepare_trace(const std::string& trace, std::vector<std::string>& paths) {
  const bool own = is_pcp_trace(trace);
  if (paths.empty()) {
    const std::string_view store = own ? trace_format::kCheckpointsName : kTraceStoreName;
    paths.push_back((std::filesystem::path(trace) / std::string(store)).string());
    std::error_code ignored;
    if (std::filesystem::is_directory(trace, ignored) &&
        !std::filesystem::exists(paths.front(), ignored)) {
      throw Error(ErrorCode::kNotFound, "there are no checkpoints of this format in the trace")
          .in_file(trace)
          .with_hint(own ? "`pcp-rr create-checkpoints` makes them"
                         : "`pcp-upgrade --in-place` makes them of those that rr wrote");
    }
  }
  if (own) {
    auto validator = std::make_shared<ReplayTraceValidator>(trace, events_of(paths));
    return [validator](const CheckpointReader& reader) { return validator->check(reader); };
  }
  auto validator = std::make_shared<TraceValidator>(trace, events_of(paths));
  return [validator](const CheckpointReader& reader) { return validator->check(reader); };
}

// Adds what contradicts the trace to the report of a file that can be read.
void judge_against(const TraceCheck& check, const std::string& file, ValidationReport& report) {
  try {
    const std::vector<Finding> findings = check(CheckpointReader::open(file));
    report.findings.insert(report.findings.end(), findings.begin(), findings.end());
  } catch (const Error& error) {
    if (report.valid()) {
      throw error;
    }
  }
}

#ifdef RRPCP_LIVE

// Why not all of the trace can be replayed, if so; tells of it. One that its recorder did not end
// properly is no wrong one.
std::optional<Error> problem_of(const std::string& trace, Totals& totals, Console& console) {
  std::optional<Error> problem = TraceReader::open(trace).problem();
  if (problem) {
    tell_error(console, *problem);
    totals.wrong += problem->code() == ErrorCode::kIncomplete ? 0 : 1;
  }
  return problem;
}

Json json_segment(const ReplayedSegment& segment) {
  const auto path = [](const std::string& text) {
    return text.empty() ? Json(nullptr) : json_bytes_as_text(text);
  };
  Json out;
  out["segment"] = segment.number;
  out["first"] = segment.segment.first;
  out["end"] = segment.segment.end;
  out["checkpoint"] = path(segment.segment.checkpoint);
  out["next"] = path(segment.next);
  out["findings"] = json_findings(segment.findings);
  out["error"] = segment.problem ? json_error(*segment.problem)["error"] : Json(nullptr);
  return out;
}

bool is_wrong(const ReplayedSegment& segment) {
  return std::any_of(segment.findings.begin(), segment.findings.end(),
                     [](const Finding& finding) { return finding.severity == Severity::kError; });
}

// Whether the start of a segment cannot be used for a reason that judging the file has told.
bool is_told(const Error& error) {
  switch (error.code()) {
  case ErrorCode::kNotACheckpoint:
  case ErrorCode::kIncomplete:
  case ErrorCode::kDamaged:
  case ErrorCode::kBackingFile:
    return true;
  default:
    return false;
  }
}

void print_segment(Console& console, const ReplayedSegment& segment) {
  const bool wrong = is_wrong(segment);
  if (console.quiet && !wrong) {
    return;
  }
  const std::string from = segment.segment.checkpoint.empty()
                               ? "from the start of the trace"
                               : "from " + printable(segment.segment.checkpoint);
  const std::string to =
      segment.next.empty() ? "the end of the recording" : printable(segment.next);
  console.print("segment %llu: a replay %s %s %s\n",
                static_cast<unsigned long long>(segment.number), from.c_str(),
                wrong ? "DOES NOT COME TO" : "comes to", to.c_str());
  std::string_view hint;
  for (const Finding& finding : segment.findings) {
    print_finding(console, finding);
    if (finding.severity == Severity::kError) {
      hint = finding.hint;
    }
  }
  if (!hint.empty()) {
    console.print("  What to do: %s\n", std::string(hint).c_str());
  }
}

// Replays the segments of a share, tells what was found, and returns it for --json.
Json replay_segments(const std::string& trace, std::vector<ReplayedSegment> segments,
                     Totals& totals, Console& console) {
  Json list = Json::array();
  ReplayCheck check(trace, console);
  for (ReplayedSegment& segment : segments) {
    check.replay(segment);
    if (segment.problem) {
      ++(is_told(*segment.problem) ? totals.wrong : totals.unreplayed);
      tell_error(console, segment.segment.checkpoint.empty() || !segment.problem->file().empty()
                              ? *segment.problem
                              : segment.problem->in_file(segment.segment.checkpoint));
    } else {
      ++totals.replayed;
      totals.wrong += is_wrong(segment) ? 1 : 0;
    }
    if (console.json) {
      list.push_back(json_segment(segment));
    } else if (!segment.problem) {
      print_segment(console, segment);
    }
  }
  return list;
}

// The checkpoints that a share judges: those at the end of its segments, and the first one those
// that cut nothing too. So all shares together judge each once.
std::vector<std::string> files_of_share(const std::string& trace, SegmentShare share,
                                        const std::vector<ReplayedSegment>& segments) {
  std::vector<std::string> files;
  for (const ReplayedSegment& segment : segments) {
    if (!segment.next.empty()) {
      files.push_back(segment.next);
    }
  }
  if (share.number == 1) {
    std::vector<std::string> cutting;
    for (const TraceSegment& segment : trace_segments(trace)) {
      cutting.push_back(segment.checkpoint);
    }
    const std::string store = trace + "/" + std::string(trace_format::kCheckpointsName);
    std::error_code ignored;
    const bool any = std::filesystem::exists(store, ignored);
    for (const std::string& file : any ? checkpoints_in(store) : std::vector<std::string>()) {
      if (std::find(cutting.begin(), cutting.end(), file) == cutting.end()) {
        files.push_back(file);
      }
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

#endif

int run(int argc, char** argv, Console& console) {
  Command command(
      {"pcp-validate", "[OPTION]... FILE|DIR...",
       "Checks checkpoints and says everything that is wrong with them. Of a directory, "
       "all *.pcp files.",
       kDetails});
  command.add_json();
  command.add_quiet();
  command.add("l,level", "structure, checksums or semantics (default)", "LEVEL", "semantics");
  command.add(
      "max-decoded",
      "refuse files with more than SIZE bytes to look at, whatever little they take on disk "
      "(default: 16G and 256 times what they take)",
      "SIZE");
  command.add("j,threads", "threads to use (default: one per processor)", "N");
  command.add("trace",
              "compare with the trace in DIR too, rr's or pcp-rr's; without FILE, its checkpoints",
              "DIR");
  command.add("replay",
              "replay the trace of --trace from each checkpoint to the next, and compare");
  command.add("segment", "of that the I-th of N shares (with --replay)", "I/N");
  command.add("explain", "print what a diagnostic means, of \"all\" each one, and exit", "CODE");
  const Arguments arguments = command.parse(argc, argv, console);
  if (arguments.has("explain")) {
    arguments.expect(0, 0, "no FILE");
    return explain(console, arguments.get("explain"));
  }
  std::vector<std::string> paths = arguments.positional();
  TraceCheck trace;
  if (arguments.has("segment") && !arguments.has("replay")) {
    throw UsageError("--segment goes with --replay");
  }
#ifdef RRPCP_LIVE
  std::vector<ReplayedSegment> segments;
#endif
  if (arguments.has("replay")) {
    if (!arguments.has("trace")) {
      throw UsageError("--replay needs --trace TRACE");
    }
    arguments.expect(0, 0, "no FILE with --replay: it judges the checkpoints of the trace");
    if (!is_pcp_trace(arguments.get("trace"))) {
      throw Error(ErrorCode::kUnsupportedState, "this is no trace of pcp-rr")
          .in_file(arguments.get("trace"))
          .with_hint("recordings of rr are replayed by rr");
    }
#ifdef RRPCP_LIVE
    const SegmentShare share = parse_segment_share(arguments.get_or("segment", "1/1"));
    segments = segments_to_replay(arguments.get("trace"), share, console);
    paths = files_of_share(arguments.get("trace"), share, segments);
    if (!paths.empty()) {
      trace = prepare_trace(arguments.get("trace"), paths);
    }
#else
    throw Error(ErrorCode::kUnsupportedState,
                "this pcp-validate was built without what runs programs (RRPCP_LIVE=OFF) and "
                "cannot replay");
#endif
  } else if (arguments.has("trace")) {
    trace = prepare_trace(arguments.get("trace"), paths);
  } else {
    arguments.expect(1, SIZE_MAX, "FILE or DIR");
  }
  ValidateOptions options;
  try {
    options.level = parse_validation_level(arguments.get("level"));
  } catch (const Error& error) {
    throw UsageError(error.message() + "; " + error.hint());
  }
  if (arguments.has("threads")) {
    options.threads =
        static_cast<unsigned>(parse_number(arguments.get("threads"), "--threads", 1024));
  }

  if (arguments.has("max-decoded")) {
    options.limits.max_decoded_bytes = parse_size(arguments.get("max-decoded"), "--max-decoded");
  }

  Totals totals;
  Json files = Json::array();
  auto unreadable = [&](const std::string& file, const Error& error) {
    ++totals.unreadable;
    tell_error(console, error);
    if (console.json) {
      Json entry;
      entry["file"] = json_bytes_as_text(file);
      entry["valid"] = nullptr;
      entry["error"] = json_error(error)["error"];
      files.push_back(std::move(entry));
    }
  };
  auto judge = [&](const std::string& file) {
    try {
      Progress progress(console, "Validating " + printable(file));
      options.progress = [&](std::uint64_t done, std::uint64_t total) {
        progress.update(done, total);
      };
      ValidationReport report = validate_file(file, options);
      progress.clear();
      if (trace) {
        judge_against(trace, file, report);
      }
      ++(report.valid() ? totals.valid : totals.invalid);
      if (console.json) {
        files.push_back(json_report(file, report));
      } else {
        print_report(console, file, report, options.level);
      }
    } catch (const Error& error) {
      unreadable(file, error);
    }
  };
  for (const std::string& argument : paths) {
    std::error_code ignored;
    if (!std::filesystem::is_directory(argument, ignored)) {
      judge(argument);
      continue;
    }
    try {
      std::vector<std::string> inside = checkpoints_in(argument);
      if (inside.empty() && !console.quiet && !console.json) {
        console.note(printable(argument) + ": there is no *.pcp file in it");
      }
      for (const std::string& file : inside) {
        judge(file);
      }
    } catch (const Error& error) {
      unreadable(argument, error);
    }
  }
#ifdef RRPCP_LIVE
  std::optional<Error> problem;
  if (arguments.has("replay")) {
    problem = problem_of(arguments.get("trace"), totals, console);
  }
  const Json replays = arguments.has("replay")
                           ? replay_segments(arguments.get("trace"), segments, totals, console)
                           : Json(nullptr);
#else
  const std::optional<Error> problem;
  const Json replays = nullptr;
#endif
  const std::uint64_t all = totals.valid + totals.invalid + totals.unreadable;
  if (console.json) {
    Json out;
    out["files"] = std::move(files);
    if (!replays.is_null()) {
      out["traceProblem"] = problem ? json_error(*problem)["error"] : Json(nullptr);
      out["segments"] = replays;
      out["replayed"] = totals.replayed;
      out["wrong"] = totals.wrong;
      out["unreplayed"] = totals.unreplayed;
    }
    out["valid"] = totals.valid;
    out["invalid"] = totals.invalid;
    out["unreadable"] = totals.unreadable;
    console.write_json(out);
  } else if (all > 1 && !console.quiet) {
    console.print("%s: %llu valid, %llu invalid, %llu unreadable\n",
                  human_count(all, "file", "files").c_str(),
                  static_cast<unsigned long long>(totals.valid),
                  static_cast<unsigned long long>(totals.invalid),
                  static_cast<unsigned long long>(totals.unreadable));
  }
  if (!replays.is_null() && !console.json && !console.quiet) {
    console.print("%s replayed, %llu wrong, %llu not replayed\n",
                  human_count(totals.replayed, "segment", "segments").c_str(),
                  static_cast<unsigned long long>(totals.wrong),
                  static_cast<unsigned long long>(totals.unreplayed));
  }
  if (totals.unreadable != 0 || totals.unreplayed != 0) {
    return kExitTrouble;
  }
  return totals.invalid != 0 || totals.wrong != 0 ? kExitNo : kExitOk;
}

} // namespace
} // namespace rrpcp::tools

int main(int argc, char** argv) {
  return rrpcp::tools::run_tool("pcp-validate", argc, argv, rrpcp::tools::run);
}
