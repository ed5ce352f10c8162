// pcp-capture: saves a running process into a checkpoint.

#include "common/allow.h"
#include "common/command.h"
#include "common/console.h"
#include "common/exit_code.h"
#include "common/json.h"
#include "common/progress.h"
#include "common/text.h"
#include "common/tool_main.h"
#include "rrpcp/error.h"
#include "rrpcp/process/capture.h"
#include "rrpcp/process/memory_watch.h"
#include "rrpcp/series.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <csignal>
#include <filesystem>
#include <string>
#include <thread>

namespace rrpcp::tools {
namespace {

constexpr const char* kDetails =
    R"(Names for --allow, and what a restore does about it:
  terminal        a terminal: the restorer's own descriptor of that number, or /dev/null
  pipe            a pipe to another process: likewise
  socket          a socket: one to which nobody connects, or whose calls fail
  device          a device: opened again by its path
  other-fd        perf events, fanotify, ...: /dev/null
  deleted-file    files without a name above --max-unlinked: their content is lost
  children        child processes, and with --kill others of its group: they are left out
  posix-timer     timers that the kernel does not tell about: they are left out
  semaphore-undo  what its end would undo of System V semaphores: left out
  seccomp         filters that cannot be put back: it is less confined
  landlock        a confinement by landlock(7): it is less confined
  security-label  a label of a security module: that of the restorer
  namespaces      namespaces other than ours: those of the restorer

Exit codes:
  0  the checkpoint is there
  2  wrong usage, or another failure
  3  there is no such process, or it ended meanwhile
  4  no permission, or somebody else traces the process
  5  no space left for the file
  6  the process has something that a checkpoint cannot carry
  10 interrupted (SIGINT, SIGTERM, SIGHUP): no file was written

Whatever happens, the process goes on as it was.

Examples:
  pcp-capture 1234 -o before.pcp --allow terminal
  pcp-capture 1234 -o series/ --every 30 --count 100)";

// Set by a signal that asks us to end: the capture is given up in good order.
std::atomic<int> g_interrupted = 0;

void note_interruption(int signal) {
  g_interrupted = signal;
}

void catch_interruptions() {
  struct sigaction action {};
  action.sa_handler = note_interruption;
  action.sa_flags = static_cast<int>(SA_RESETHAND); // the second one ends us at once
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    ::sigaction(signal, &action, nullptr);
  }
  // A file-size limit is reported by the write that meets it.
  std::signal(SIGXFSZ, SIG_IGN);
}

Json json_result(const CaptureResult& result) {
  Json out;
  out["file"] = json_bytes_as_text(result.path);
  out["id"] = result.id.to_string();
  out["fileBytes"] = result.file_bytes;
  out["memoryBytes"] = result.memory_bytes;
  out["bases"] = result.bases;
  out["tasks"] = result.tasks;
  out["mappings"] = result.mappings;
  out["frozenNanoseconds"] = result.frozen_nanoseconds;
  out["totalNanoseconds"] = result.total_nanoseconds;
  out["warnings"] = Json::array();
  for (const std::string& warning : result.warnings) {
    out["warnings"].push_back(json_bytes_as_text(warning));
  }
  return out;
}

void show(Console& console, pid_t pid, const CaptureResult& result, bool killed) {
  if (console.json) {
    console.write_json(json_result(result));
    return;
  }
  for (const std::string& warning : result.warnings) {
    console.warn(warning);
  }
  if (console.quiet) {
    return;
  }
  console.print("%s: process %d, %s, %s, %s of memory in %s\n", printable(result.path).c_str(),
                static_cast<int>(pid), human_count(result.tasks, "thread", "threads").c_str(),
                human_count(result.mappings, "mapping", "mappings").c_str(),
                human_size(result.memory_bytes).c_str(), human_size(result.file_bytes).c_str());
  const std::string total = human_duration(result.total_nanoseconds);
  if (killed) {
    console.print("  saved in %s, and killed\n", total.c_str());
  } else {
    console.print("  saved in %s, of which it stood still for %s\n", total.c_str(),
                  human_duration(result.frozen_nanoseconds).c_str());
  }
  console.print("  id %s\n", result.id.to_string().c_str());
}

// "00000007.pcp": the files of a series, which sort as they were made.
std::string series_file(const std::string& directory, std::uint64_t number) {
  std::string digits = std::to_string(number);
  digits.insert(0, digits.size() < 8 ? 8 - digits.size() : 0, '0');
  return directory + (directory.ends_with('/') ? "" : "/") + digits + ".pcp";
}

// Whether the next one may take over pages of this one too (spec/series.md, "Writing").
bool may_be_a_base(const std::string& path) {
  const CheckpointReader made = CheckpointReader::open(path);
  const SeriesCost cost = series_cost(made.state());
  return made.base_count() < format::kDefaultMaxBases && cost.decoded_pages <= 2 * cost.pages;
}

// Captures the process every `pause`, as often as `count` says (0: until it ends or a signal
// comes), into files of the directory.
int capture_series(Console& console, pid_t pid, const std::string& directory,
                   CaptureOptions options, std::chrono::milliseconds pause, std::uint64_t count) {
  std::filesystem::create_directories(directory);
  std::uint64_t number = 1;
  while (std::filesystem::exists(series_file(directory, number))) {
    ++number;
  }
  MemoryWatch watch;
  auto due = std::chrono::steady_clock::now();
  for (std::uint64_t made = 0; count == 0 || made < count; ++made) {
    while (g_interrupted == 0 && std::chrono::steady_clock::now() < due) {
      std::this_thread::sleep_for(std::min<std::chrono::nanoseconds>(
          due - std::chrono::steady_clock::now(), std::chrono::milliseconds(50)));
    }
    if (g_interrupted != 0) {
      break;
    }
    due += pause;
    CaptureResult result;
    try {
      result = capture_process(pid, series_file(directory, number++), options, watch);
    } catch (const Error& error) {
      const bool over = error.code() == ErrorCode::kNotFound ||
                        error.code() == ErrorCode::kProcessGone || error.errno_value() == ECANCELED;
      if (!over || (made == 0 && error.errno_value() != ECANCELED)) {
        throw;
      }
      if (made == 0) {
        report_error(console, error);
        return kExitCancelled;
      }
      break; // the process has come to its end, or the user has had enough
    }
    if (made == 0 && !watch.problem().empty()) {
      result.warnings.push_back("all memory is read each time: " + watch.problem());
    }
    show(console, pid, result, false);
    console.flush(); // the next one may be long in coming
    options.base = may_be_a_base(result.path) ? result.path : "";
  }
  return kExitOk;
}

int run(int argc, char** argv, Console& console) {
  Command command({"pcp-capture", "[OPTION]... PID -o FILE",
                   "Saves a running process with all its threads into a checkpoint. The process "
                   "goes on at once, unless --kill says otherwise.",
                   kDetails});
  command.add("o,output", "the checkpoint to write", "FILE");
  command.add("p,profile", "raw, fast, default or small: how much to compress", "PROFILE",
              "default");
  command.add("j,threads", "threads that compress (default: one per processor)", "N");
  command.add("embed-files", "store the contents of mapped files too");
  command.add("seal", "store SHA-256 digests too, by which forging can be told from damage");
  command.add(
      "base",
      "an earlier checkpoint of the process beside the new one: what it holds already is not "
      "stored again",
      "FILE");
  command.add("every",
              "capture again and again, so many seconds after each other, into files of the "
              "directory that -o names; each stores what was written since the one before",
              "SECONDS");
  command.add("count", "with --every: so many times (default: until the process ends)", "N");
  command.add("inspect-only", "capture whatever it has, never to be restored");
  command.add("max-unlinked", "MiB of open files without a name to store (default: 1024)", "MIB");
  command.add("kill", "kill the process when the checkpoint is there");
  add_allow(command, "what may be left out, by name (below)");
  command.add("comment", "text to store with the checkpoint", "TEXT");
  command.add_json();
  command.add_quiet();
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(1, 1, "PID");
  if (!arguments.has("output")) {
    throw UsageError("missing option: -o FILE");
  }
  const pid_t pid = static_cast<pid_t>(parse_number(arguments.positional()[0], "PID", INT_MAX));
  CaptureOptions options;
  try {
    options.profile = parse_profile(arguments.get("profile"));
  } catch (const Error& error) {
    throw UsageError(error.message());
  }
  if (arguments.has("threads")) {
    options.threads =
        static_cast<unsigned>(parse_number(arguments.get("threads"), "--threads", 1024));
  }
  options.embed_files = arguments.has("embed-files");
  options.seal = arguments.has("seal");
  options.base = arguments.get_or("base", "");
  options.inspect_only = arguments.has("inspect-only");
  if (options.inspect_only && arguments.has("kill")) {
    throw UsageError("--inspect-only and --kill exclude each other: it could not be restored");
  }
  if (arguments.has("max-unlinked")) {
    constexpr std::uint64_t kMebi = 1 << 20;
    options.max_unlinked_bytes =
        parse_number(arguments.get("max-unlinked"), "--max-unlinked", UINT64_MAX / kMebi) * kMebi;
  }
  options.after = arguments.has("kill") ? AfterCapture::kKill : AfterCapture::kContinue;
  options.allow = parse_allow(arguments);
  options.comment = arguments.get_or("comment", "");

  if (arguments.has("every") && (arguments.has("base") || arguments.has("kill"))) {
    throw UsageError("--every excludes --base, which it chooses itself, and --kill");
  }
  if (arguments.has("count") && !arguments.has("every")) {
    throw UsageError("--count is for --every");
  }

  catch_interruptions();
  if (arguments.has("every")) {
    options.cancelled = [] { return g_interrupted != 0; };
    const auto pause =
        std::chrono::seconds(parse_number(arguments.get("every"), "--every", 1 << 30));
    const std::uint64_t count =
        arguments.has("count") ? parse_number(arguments.get("count"), "--count", UINT32_MAX) : 0;
    return capture_series(console, pid, arguments.get("output"), options, pause, count);
  }
  Progress progress(console, "Capturing process " + std::to_string(pid));
  options.cancelled = [] { return g_interrupted != 0; };
  options.progress = [&](std::uint64_t done, std::uint64_t total) { progress.update(done, total); };
  CaptureResult result;
  try {
    result = capture_process(pid, arguments.get("output"), options);
  } catch (const Error& error) {
    if (error.errno_value() != ECANCELED) {
      throw;
    }
    progress.clear();
    report_error(console, error);
    return kExitCancelled;
  }
  progress.clear();
  show(console, pid, result, options.after == AfterCapture::kKill);
  return kExitOk;
}

} // namespace
} // namespace rrpcp::tools

int main(int argc, char** argv) {
  return rrpcp::tools::run_tool("pcp-capture", argc, argv, rrpcp::tools::run,
                                {.fine_exit_codes = true});
}
