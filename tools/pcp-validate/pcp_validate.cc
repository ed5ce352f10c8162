// pcp-validate: says everything that is wrong with checkpoints.

#include "common/command.h"
#include "common/console.h"
#include "common/json.h"
#include "common/progress.h"
#include "common/text.h"
#include "common/tool_main.h"
#include "rrpcp/compat/legacy.h"
#include "rrpcp/compat/validate.h"
#include "rrpcp/error.h"
#include "rrpcp/trace/trace_directory.h"
#include "rrpcp/trace/trace_validate.h"
#include "rrpcp/validate.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace rrpcp::tools {
namespace {

constexpr const char* kDetails = R"(Levels, each with all before it:
  structure   header, footer, sections, chunk table, manifest as bytes
  checksums   every byte of the page data, the checkpoint id, and the seal if there is one
  semantics   every rule about what the manifest says (the default)

Exit codes:
  0  every file is valid (there may be warnings)
  1  a file is invalid
  2  a file could not be read, or wrong usage

Example:
  pcp-validate --level checksums ~/traces/latest-trace/pcp)";

// What became of all files together.
struct Totals {
  std::uint64_t valid = 0;
  std::uint64_t invalid = 0;
  std::uint64_t unreadable = 0;
};

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

Json json_report(const std::string& file, const ValidationReport& report) {
  Json findings = Json::array();
  for (const Finding& finding : report.findings) {
    Json entry;
    entry["code"] = finding.code;
    entry["severity"] = severity_name(finding.severity);
    entry["offset"] = finding.offset ? Json(*finding.offset) : Json(nullptr);
    entry["path"] = finding.path.empty() ? Json(nullptr) : Json(finding.path);
    entry["message"] = json_bytes_as_text(finding.message);
    entry["hint"] = finding.hint;
    findings.push_back(std::move(entry));
  }
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
  out["findings"] = std::move(findings);
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
  command.add("explain", "print what a diagnostic means, of \"all\" each one, and exit", "CODE");
  const Arguments arguments = command.parse(argc, argv, console);
  if (arguments.has("explain")) {
    arguments.expect(0, 0, "no FILE");
    return explain(console, arguments.get("explain"));
  }
  std::vector<std::string> paths = arguments.positional();
  TraceCheck trace;
  if (arguments.has("trace")) {
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
    report_error(console, error);
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
  const std::uint64_t all = totals.valid + totals.invalid + totals.unreadable;
  if (console.json) {
    Json out;
    out["files"] = std::move(files);
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
  return totals.unreadable != 0 ? kExitTrouble : totals.invalid != 0 ? kExitNo : kExitOk;
}

} // namespace
} // namespace rrpcp::tools

int main(int argc, char** argv) {
  return rrpcp::tools::run_tool("pcp-validate", argc, argv, rrpcp::tools::run);
}
