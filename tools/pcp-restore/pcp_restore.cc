// pcp-restore: makes a process from a checkpoint, stopped or running.

#include "common/allow.h"
#include "common/command.h"
#include "common/console.h"
#include "common/json.h"
#include "common/text.h"
#include "common/tool_main.h"
#include "pcp-restore/foreground.h"
#include "rrpcp/error.h"
#include "rrpcp/process/restore.h"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

namespace rrpcp::tools {
namespace {

// With --run every other code belongs to the program, as with env(1) and timeout(1).
constexpr int kExitRestoreFailed = 125;

constexpr const char* kDetails = R"(What --allow can let pass:
  changed-file    an open or mapped file that is not what it was: used as it is
  deleted-file    an open file whose contents could not be stored: zeros take their place
  device          a device other than null, zero, full, random, urandom: opened again
  landlock        a confinement by landlock(7): it is less confined
  namespaces      namespaces that are not ours: it is restored in ours
  new-ids         other process, thread and System V ids than the captured ones
  other-fd        perf events, fanotify and the like: replaced by /dev/null
  pipe            a pipe to another process: 0, 1, 2 become our own, others /dev/null
  seccomp         filters that cannot be put back: it is less confined
  security-label  a label of a security module: it has ours
  segment         a System V segment written to by another process: overwritten
  semaphore-undo  what its end would undo of System V semaphores: left out
  socket          replaced by one to which nobody connects, or whose peer is gone
  terminal        0, 1, 2 become our own, others /dev/null

What --lazy costs, where FILE has raw pages: memory that the program gives back
(MADV_DONTNEED) holds the old bytes instead of zeros, core files lack it, nothing
is verified, and FILE must stay as it is while the process lives.

Exit codes without --run:
  0  restored             2  wrong usage, or another failure   3  no such file
  4  not permitted        6  something cannot be restored      7  a file changed
  8  unusable checkpoint  9  an id is in use
With --run: those of the program (killed by a signal: the same signal), and
  125  it could not be restored, or wrong usage

Example:
  pcp-restore --run --allow terminal computation.pcp)";

struct Request {
  std::string file;
  bool run = false;
  RestoreOptions options;
};

Request parse(int argc, char** argv, Console& console) {
  Command command({"pcp-restore", "[OPTION]... FILE",
                   "Makes a process in the state that a checkpoint holds.", kDetails});
  command.add("run", "let it run, and end as it ends")
      .add("stopped", "leave it stopped and print its id (the default)")
      .add("trace", "directory of the trace that the checkpoint refers to", "DIR")
      .add("eager", "copy all memory at once, verified (the default)")
      .add("lazy",
           "map memory from FILE, read when touched: faster, but not quite the same (below)")
      .add("no-verify", "trust size and time of mapped files, do not read them")
      .add("max-locks", "locks that one open file may hold (default: 10000)", "N")
      .add("j,threads", "threads that decode (default: one per processor)", "N")
      .add_json("write ids and warnings as one JSON document")
      .add_quiet();
  add_allow(command, "let pass what cannot be restored as it was (below)");
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(1, 1, "FILE");
  Request request;
  request.file = arguments.positional().front();
  request.run = arguments.has("run");
  if (request.run && arguments.has("stopped")) {
    throw UsageError("--run and --stopped exclude each other");
  }
  if (request.run && console.json) {
    throw UsageError("--json and --run exclude each other: the output is the program's");
  }
  request.options.allow = parse_allow(arguments);
  request.options.files.trace_directory = arguments.get_or("trace", "");
  request.options.files.verify_digests = !arguments.has("no-verify");
  request.options.lazy = arguments.has("lazy");
  if (request.options.lazy && arguments.has("eager")) {
    throw UsageError("--lazy and --eager exclude each other");
  }
  request.options.outlives_restorer = !request.run;
  if (arguments.has("max-locks")) {
    request.options.max_locks = static_cast<std::uint32_t>(
        parse_number(arguments.get("max-locks"), "--max-locks", UINT32_MAX));
  }
  if (arguments.has("threads")) {
    constexpr std::uint64_t kMostThreads = 1024;
    request.options.threads =
        static_cast<unsigned>(parse_number(arguments.get("threads"), "--threads", kMostThreads));
  }
  return request;
}

void show_stopped(Console& console, const RestoredProcess& process) {
  const std::string pid = std::to_string(process.pid());
  if (console.json) {
    Json document;
    document["pid"] = process.pid();
    document["tids"] = process.tids();
    document["nanoseconds"] = process.nanoseconds();
    document["warnings"] = Json::array();
    for (const std::string& warning : process.warnings()) {
      document["warnings"].push_back(json_bytes_as_text(warning));
    }
    console.write_json(document);
  } else if (console.quiet) {
    console.write(pid + "\n");
  } else {
    console.print("process %s restored in %s and stopped (%s)\n", pid.c_str(),
                  human_duration(process.nanoseconds()).c_str(),
                  human_count(process.tids().size(), "thread", "threads").c_str());
    console.print("  gdb -p %s        debugs it\n", pid.c_str());
    console.print("  kill -CONT %s    lets it run\n", pid.c_str());
  }
  console.flush();
}

// `ended` gets the status of a program that was run.
int restore(int argc, char** argv, Console& console, std::optional<int>& ended) {
  const Request request = parse(argc, argv, console);
  const CheckpointReader reader = CheckpointReader::open(request.file);
  std::optional<KeptTerminal> terminal;
  if (request.run) {
    terminal.emplace();
  }
  RestoredProcess process = restore_process(reader, request.options);
  if (!console.json) {
    for (const std::string& warning : process.warnings()) {
      console.warn(warning);
    }
  }
  if (request.run) {
    Foreground foreground;
    if (process.was_stopped()) {
      console.warn("the process was stopped when it was captured, and is again; kill -CONT " +
                   std::to_string(process.pid()) + " lets it run");
      process.detach_stopped();
    } else {
      process.detach_running();
    }
    ended = foreground.run(process.pid());
    return kExitOk;
  }
  process.detach_stopped();
  try {
    show_stopped(console, process);
  } catch (...) { // nobody knows of it: it must not stay
    ::kill(process.pid(), SIGKILL);
    throw;
  }
  return kExitOk;
}

bool asks_to_run(int argc, char** argv) {
  return std::any_of(argv, argv + argc,
                     [](const char* argument) { return std::string_view(argument) == "--run"; });
}

} // namespace
} // namespace rrpcp::tools

int main(int argc, char** argv) {
  using namespace rrpcp::tools;
  std::optional<int> ended;
  const int code = run_tool("pcp-restore", argc, argv,
                            [&](int count, char** arguments, Console& console) {
                              return restore(count, arguments, console, ended);
                            },
                            {.fine_exit_codes = true});
  if (ended) {
    Foreground::end_like(*ended);
  }
  return code != kExitOk && asks_to_run(argc, argv) ? kExitRestoreFailed : code;
}
