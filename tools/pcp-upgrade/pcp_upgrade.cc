// pcp-upgrade: turns checkpoints of any older version into the newest.

#include "common/command.h"
#include "common/console.h"
#include "common/json.h"
#include "common/progress.h"
#include "common/text.h"
#include "common/tool_main.h"
#include "pcp-upgrade/work.h"
#include "rrpcp/compat/legacy.h"
#include "rrpcp/error.h"
#include "rrpcp/store.h"

#include <algorithm>
#include <fcntl.h>
#include <filesystem>
#include <memory>
#include <string>
#include <unistd.h>
#include <vector>

namespace rrpcp::tools {
namespace {

constexpr const char* kNewest = "1.1";
constexpr const char* kLowest = "1.0";

constexpr const char* kDetails =
    R"(PATH is a checkpoint (a *.pcp file, or a directory, file or metadata file of rr's own), an index file
of rr's, a whole trace, or a directory of *.pcp files. Every result is read back and compared with
its origin, field by field and byte by byte, before it appears. What is old stays as it is, unless
--remove-old says otherwise; what cannot be upgraded always does. Repeating an interrupted run is
harmless.

Exit codes:
  0  everything is of the newest version now
  1  something could not be upgraded or removed; the rest was
  2  wrong usage

Examples:
  pcp-upgrade --dry-run ~/.local/share/rr/latest-trace
  pcp-upgrade --in-place --remove-old ~/.local/share/rr/*/)";

struct Settings {
  bool in_place = false;
  bool dry_run = false;
  bool remove_old = false;
  bool flatten = false;
  bool version_given = false;
  std::uint16_t minor = format::kMinorVersion; // that files of the current format are to state
  std::string directory;
  ImportOptions import;
};

// What became of one checkpoint.
struct Outcome {
  enum class State { kUpgraded, kFlattened, kExisted, kCurrent, kWouldUpgrade, kFailed };

  State state = State::kFailed;
  std::string path;
  std::string from;
  std::string to = kNewest;
  std::int64_t event = 0;
  std::string target;
  std::string id;
  std::uint64_t bytes_before = 0;
  std::uint64_t bytes_after = 0;
  bool removed = false;
  std::vector<Finding> findings;
  // Why it was not upgraded, or, where it was, why the old one could not be removed.
  std::unique_ptr<Error> error;
};

const char* state_name(Outcome::State state) {
  switch (state) {
  case Outcome::State::kUpgraded:
    return "upgraded";
  case Outcome::State::kFlattened:
    return "flattened";
  case Outcome::State::kExisted:
    return "existed";
  case Outcome::State::kCurrent:
    return "current";
  case Outcome::State::kWouldUpgrade:
    return "would-upgrade";
  case Outcome::State::kFailed:
    return "failed";
  }
  return "failed";
}

// What the words of one line say.
std::string sentence(const Outcome& outcome) {
  switch (outcome.state) {
  case Outcome::State::kUpgraded:
    return "upgraded";
  case Outcome::State::kFlattened:
    return "made to need no other file";
  case Outcome::State::kExisted:
    return "was upgraded before";
  case Outcome::State::kCurrent:
    return "is of the newest version";
  case Outcome::State::kWouldUpgrade:
    return "would be upgraded";
  case Outcome::State::kFailed:
    return "NOT UPGRADED";
  }
  return {};
}

// Runs an import whose bytes nobody keeps, for its size and its findings.
void try_import(const LegacyCheckpoint& legacy, const ImportOptions& options, Outcome& outcome) {
  const std::unique_ptr<int, void (*)(int*)> sink(
      new int(::open("/dev/null", O_WRONLY | O_CLOEXEC)), [](int* fd) {
        ::close(*fd);
        delete fd;
      });
  Output output(*sink, "/dev/null");
  const ImportResult result = import_checkpoint(legacy, output, options);
  outcome.id = result.id.to_string();
  outcome.bytes_after = output.offset();
  outcome.findings.insert(outcome.findings.end(), result.findings.begin(), result.findings.end());
}

void upgrade_legacy(const WorkItem& item, const Settings& settings, Outcome& outcome) {
  outcome.from = generation_name(item.entry->generation);
  outcome.event = item.entry->event;
  outcome.to = kLowest; // which defines all that it can have
  const LegacyCheckpoint legacy = item.trace->load(*item.entry);
  outcome.bytes_before = legacy.stored_bytes();
  outcome.findings = legacy.findings();
  if (settings.dry_run) {
    try_import(legacy, settings.import, outcome);
    outcome.state = Outcome::State::kWouldUpgrade;
    return;
  }
  const std::string directory =
      settings.in_place
          ? (std::filesystem::path(legacy.trace().directory()) / kTraceStoreName).string()
          : settings.directory;
  std::error_code ignored;
  if (settings.in_place && std::filesystem::is_symlink(directory, ignored)) {
    throw Error(ErrorCode::kPermission,
                "this is a symbolic link: what is upgraded in place stays in "
                "the trace, wherever a link in it leads")
        .in_file(directory)
        .with_hint("remove the link, or name the directory that it leads to (--output DIR)");
  }
  const PublishedImport published = publish_import(legacy, directory, settings.import);
  outcome.target = published.path;
  outcome.id = published.id.to_string();
  outcome.bytes_after = published.bytes;
  outcome.state = published.existed ? Outcome::State::kExisted : Outcome::State::kUpgraded;
  outcome.findings.insert(outcome.findings.end(), published.findings.begin(),
                          published.findings.end());
}

// One file that needs no other, beside the one that does or where the user says.
void flatten_current(const CheckpointReader& reader, const Settings& settings, Outcome& outcome) {
  reader.open_bases();
  outcome.to = kLowest;
  if (settings.dry_run) {
    outcome.state = Outcome::State::kWouldUpgrade;
    return;
  }
  std::string directory = settings.directory;
  if (settings.in_place) {
    directory = std::filesystem::path(reader.name()).parent_path().string();
    directory = directory.empty() ? "." : directory;
  }
  const PublishedCheckpoint published =
      publish_flattened(reader, directory, settings.import.writer);
  outcome.target = published.path;
  outcome.id = published.id.to_string();
  outcome.bytes_after = published.bytes;
  outcome.state = published.existed ? Outcome::State::kExisted : Outcome::State::kFlattened;
}

void upgrade_current(const WorkItem& item, const Settings& settings, Outcome& outcome) {
  const CheckpointReader reader = CheckpointReader::open(item.path);
  const Header& header = reader.header();
  outcome.from = std::to_string(header.major) + "." + std::to_string(header.minor);
  outcome.event = header.event;
  outcome.id = reader.id().to_string();
  outcome.bytes_before = reader.file_size();
  outcome.bytes_after = outcome.bytes_before;
  outcome.target = item.path;
  outcome.to = "1." + std::to_string(settings.minor);
  if (settings.flatten && reader.base_count() != 0) {
    flatten_current(reader, settings, outcome);
    return;
  }
  // A file of an earlier minor version that is to stay where it is needs nothing: it is read for
  // ever.
  if (settings.in_place || settings.dry_run) {
    outcome.state = Outcome::State::kCurrent;
    return;
  }
  const PublishedImport published =
      header.minor > format::kMinorVersion && !settings.version_given
          ? publish_rewrite(reader, settings.directory, settings.import.writer)
          : publish_rewrite(reader, settings.directory, settings.import.writer, settings.minor);
  outcome.target = published.path;
  outcome.bytes_after = published.bytes;
  outcome.state = published.existed ? Outcome::State::kExisted : Outcome::State::kUpgraded;
}

void report_outcome(Console& console, const Outcome& outcome) {
  if (console.json) {
    return;
  }
  for (const Finding& finding : outcome.findings) {
    if (finding.severity != Severity::kInfo) {
      console.print("  %s [%s] %s\n", std::string(severity_name(finding.severity)).c_str(),
                    std::string(finding.code).c_str(), printable(finding.message).c_str());
    }
  }
  if (console.quiet && outcome.error == nullptr) {
    return;
  }
  if (outcome.error != nullptr) {
    const std::string code = outcome.error->diagnostic();
    console.print("%s: %s: %s%s\n", printable(outcome.path).c_str(),
                  outcome.state == Outcome::State::kFailed
                      ? sentence(outcome).c_str()
                      : (sentence(outcome) + ", but the old one could NOT BE REMOVED").c_str(),
                  code.empty() ? "" : ("[" + code + "] ").c_str(),
                  printable(outcome.error->what()).c_str());
    return;
  }
  if (outcome.state == Outcome::State::kCurrent) {
    console.print("%s: %s (%s)\n", printable(outcome.path).c_str(), sentence(outcome).c_str(),
                  outcome.from.c_str());
    return;
  }
  console.print("%s: %s, %s to %s, event %lld, %s to %s (%s)%s\n", printable(outcome.path).c_str(),
                sentence(outcome).c_str(), outcome.from.c_str(), outcome.to.c_str(),
                static_cast<long long>(outcome.event), human_size(outcome.bytes_before).c_str(),
                human_size(outcome.bytes_after).c_str(),
                human_percent(outcome.bytes_after, outcome.bytes_before).c_str(),
                outcome.removed ? ", old one removed" : "");
}

Json to_json(const Outcome& outcome) {
  Json item{{"path", json_bytes_as_text(outcome.path)},
            {"state", state_name(outcome.state)},
            {"from", outcome.from},
            {"to", outcome.to},
            {"event", outcome.event},
            {"id", outcome.id},
            {"target", json_bytes_as_text(outcome.target)},
            {"bytesBefore", outcome.bytes_before},
            {"bytesAfter", outcome.bytes_after},
            {"oldRemoved", outcome.removed}};
  Json findings = Json::array();
  for (const Finding& finding : outcome.findings) {
    findings.push_back(Json{{"code", finding.code},
                            {"severity", severity_name(finding.severity)},
                            {"file", json_bytes_as_text(finding.file)},
                            {"message", json_bytes_as_text(finding.message)},
                            {"hint", finding.hint}});
  }
  item["findings"] = std::move(findings);
  if (outcome.error != nullptr) {
    item["error"] = json_error(*outcome.error)["error"];
  }
  return item;
}

// Removes what `outcome` was made from.
void remove_old(const WorkItem& item, Outcome& outcome) {
  try {
    remove_legacy(*item.trace, {*item.entry});
    outcome.removed = true;
  } catch (const Error& error) {
    outcome.error = std::make_unique<Error>(error);
  }
}

// `count` is shown beside the progress: "2/7".
Outcome upgrade(const WorkItem& item, const std::string& count, Settings& settings,
                Console& console) {
  Outcome outcome;
  outcome.path = item.path;
  Progress progress(console, count + " " + printable(item.path));
  settings.import.progress = [&](std::uint64_t done, std::uint64_t total) {
    progress.update(done, total);
  };
  try {
    if (item.entry != nullptr) {
      upgrade_legacy(item, settings, outcome);
      if (settings.remove_old && !settings.dry_run) {
        remove_old(item, outcome);
      }
    } else {
      upgrade_current(item, settings, outcome);
    }
  } catch (const Error& error) {
    outcome.error = std::make_unique<Error>(error);
    outcome.state = Outcome::State::kFailed;
  }
  progress.clear();
  return outcome;
}

// Removes what earlier runs that were interrupted have left of checkpoints they were removing;
// returns whether that worked.
bool finish_removals(const Work& work, Console& console) {
  bool good = true;
  for (const LegacyTrace& trace : work.traces()) {
    try {
      remove_legacy(trace, {});
    } catch (const Error& error) {
      report_error(console, error);
      good = false;
    }
  }
  return good;
}

int finish(Console& console, const std::vector<Outcome>& outcomes) {
  std::uint64_t failed = 0;
  std::uint64_t done = 0;
  std::uint64_t before = 0;
  std::uint64_t after = 0;
  for (const Outcome& outcome : outcomes) {
    failed += outcome.error != nullptr ? 1 : 0;
    if (outcome.state != Outcome::State::kFailed) {
      ++done;
      before += outcome.bytes_before;
      after += outcome.bytes_after;
    }
  }
  if (console.json) {
    Json list = Json::array();
    for (const Outcome& outcome : outcomes) {
      list.push_back(to_json(outcome));
    }
    console.write_json(Json{{"checkpoints", std::move(list)},
                            {"done", done},
                            {"failed", failed},
                            {"bytesBefore", before},
                            {"bytesAfter", after}});
  } else if (!console.quiet) {
    console.print("%s, %s to %s", human_count(done, "checkpoint", "checkpoints").c_str(),
                  human_size(before).c_str(), human_size(after).c_str());
    console.print("%s\n", failed == 0 ? "" : ("; " + std::to_string(failed) + " failed").c_str());
  }
  return failed == 0 ? kExitOk : kExitNo;
}

int upgrade_main(int argc, char** argv, Console& console) {
  Command command({"pcp-upgrade", "[OPTION]... PATH...",
                   "Upgrades checkpoints of older versions, rr's own among them, to the newest "
                   "version.",
                   kDetails});
  command.add("to", "version to write: 1.0, or 1.1, the newest", "VERSION", kNewest);
  command.add("flatten",
              "store all pages of a checkpoint that takes over some of others: the result needs no "
              "other file, and has another id");
  command.add("in-place",
              "write into the directory pcp of each checkpoint's own trace; files of the "
              "newest version stay as they are");
  command.add("o,output", "write into this directory", "DIR");
  command.add("dry-run", "do everything but write; tells sizes and problems");
  command.add("remove-old", "remove each old checkpoint when the new one is there and compared");
  command.add("profile", "how to store pages: raw, fast, default or small", "P");
  command.add("embed-files", "store the contents of mapped files too");
  command.add("reproducible", "leave time and name of this machine out of the files");
  command.add_json();
  command.add_quiet();
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(1, SIZE_MAX, "PATH");

  Settings settings;
  settings.in_place = arguments.has("in-place");
  settings.dry_run = arguments.has("dry-run");
  settings.remove_old = arguments.has("remove-old");
  settings.directory = arguments.get_or("output", "");
  settings.import.embed_files = arguments.has("embed-files");
  settings.import.reproducible = arguments.has("reproducible");
  if (arguments.has("profile")) {
    settings.import.writer.profile = parse_profile(arguments.get("profile"));
  }
  settings.flatten = arguments.has("flatten");
  settings.version_given = arguments.has("to");
  const std::string version = arguments.get("to");
  if (version == kLowest) {
    settings.minor = 0;
  } else if (version != kNewest && version != "newest") {
    throw UsageError("version " + version +
                     " cannot be written; known are 1.0 and 1.1 (and rr-2025, with pcp-convert)");
  }
  if (settings.in_place && !settings.directory.empty()) {
    throw UsageError("--in-place and --output exclude each other");
  }
  if (!settings.in_place && settings.directory.empty() && !settings.dry_run) {
    throw UsageError("say where to: --in-place or --output DIR (or --dry-run)");
  }

  Work work;
  for (const std::string& path : arguments.positional()) {
    work.add(path);
  }
  std::vector<Outcome> outcomes;
  for (const WorkProblem& problem : work.problems()) {
    Outcome& outcome = outcomes.emplace_back();
    outcome.path = problem.path;
    outcome.error = std::make_unique<Error>(problem.error);
    report_outcome(console, outcome);
  }
  const std::string total = "/" + std::to_string(work.items().size());
  for (const WorkItem& item : work.items()) {
    const std::string count = std::to_string(&item - work.items().data() + 1) + total;
    outcomes.push_back(upgrade(item, count, settings, console));
    report_outcome(console, outcomes.back());
  }
  const bool cleaned = !settings.remove_old || settings.dry_run || finish_removals(work, console);
  const int code = finish(console, outcomes);
  return cleaned ? code : kExitNo;
}

} // namespace
} // namespace rrpcp::tools

int main(int argc, char** argv) {
  return rrpcp::tools::run_tool("pcp-upgrade", argc, argv, rrpcp::tools::upgrade_main);
}
