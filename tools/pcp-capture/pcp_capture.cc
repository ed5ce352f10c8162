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

#include <atomic>
#include <cerrno>
#include <climits>
#include <csignal>
#include <string>

namespace rrpcp::tools {
namespace {

constexpr const char* kDetails =
    R"(Names for --allow, and what a restore does about it:
  terminal      a terminal: the restorer's own descriptor of that number, or /dev/null
  pipe          a pipe to another process: likewise
  socket        a socket: one to which nobody connects, or whose calls fail
  device        a device: opened again by its path
  other-fd      perf events, fanotify, ...: /dev/null
  deleted-file  files without a name above --max-unlinked: their content is lost
  children      child processes, and with --kill others of its group: they are left out
  posix-timer   timers that the kernel does not tell about: they are left out
  seccomp       filters that cannot be put back: it is less confined

Exit codes:
  0  the checkpoint is there
  2  wrong usage, or another failure
  3  there is no such process, or it ended meanwhile
  4  no permission, or somebody else traces the process
  5  no space left for the file
  6  the process has something that a checkpoint cannot carry
  10 interrupted (SIGINT, SIGTERM, SIGHUP): no file was written

Whatever happens, the process goes on as it was.

Example:
  pcp-capture 1234 -o before.pcp --allow terminal)";

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

  catch_interruptions();
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
  if (console.json) {
    console.write_json(json_result(result));
    return kExitOk;
  }
  for (const std::string& warning : result.warnings) {
    console.warn(warning);
  }
  if (!console.quiet) {
    console.print("%s: process %d, %s, %s, %s of memory in %s\n", printable(result.path).c_str(),
                  static_cast<int>(pid), human_count(result.tasks, "thread", "threads").c_str(),
                  human_count(result.mappings, "mapping", "mappings").c_str(),
                  human_size(result.memory_bytes).c_str(), human_size(result.file_bytes).c_str());
    const std::string total = human_duration(result.total_nanoseconds);
    if (options.after == AfterCapture::kKill) {
      console.print("  saved in %s, and killed\n", total.c_str());
    } else {
      console.print("  saved in %s, of which it stood still for %s\n", total.c_str(),
                    human_duration(result.frozen_nanoseconds).c_str());
    }
    console.print("  id %s\n", result.id.to_string().c_str());
  }
  return kExitOk;
}

} // namespace
} // namespace rrpcp::tools

int main(int argc, char** argv) {
  return rrpcp::tools::run_tool("pcp-capture", argc, argv, rrpcp::tools::run,
                                {.fine_exit_codes = true});
}
