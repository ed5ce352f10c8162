// pcp-rr replay: runs a recorded program again.

#include "rrpcp/replay/replay.h"

#include "common/text.h"
#include "pcp-rr/pcp_rr.h"
#include "rrpcp/error.h"
#include "rrpcp/trace/trace_directory.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace rrpcp::tools {
namespace {

constexpr const char* kDetails =
    R"(The replay starts from the newest checkpoint of the trace at or before the event, and from the
start of the trace without one. A checkpoint that cannot be used is passed over with a warning.

With -a the exit status is that of the program, 128 + N where signal N ended it. Otherwise 0, or the
codes of pcp-rr(1).

Examples:
  pcp-rr replay -a                   the latest recording once more
  pcp-rr replay -a -g 250000         only what it printed from event 250000 on
  pcp-rr replay -g 250000            the place, and which tasks there are)";

void write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      throw system_error(errno, "cannot write the program's output");
    }
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
}

// Without a debugger: where the replay stands.
void show_place(const Replay& replay, Console& console) {
  console.print("event %lld of %lld%s, from %s\n", static_cast<long long>(replay.event()),
                static_cast<long long>(replay.trace().event_count()),
                replay.at_end() ? " (the end)" : "",
                replay.checkpoint().empty() ? "the start of the trace"
                                            : printable(replay.checkpoint()).c_str());
  for (const ReplayTaskInfo& task : replay.tasks()) {
    console.print("%s task %d of process %d: %lld events%s\n",
                  task.tid == replay.current_task() ? "*" : " ", task.tid, task.pid,
                  static_cast<long long>(task.ticks), task.in_call ? ", in a system call" : "");
  }
}

} // namespace

int rr_replay(int argc, char** argv, Console& console) {
  Command command({"pcp-rr replay", "[OPTION]... [TRACE]",
                   "Replays a recording and prints what the program printed.", kDetails});
  command.add("a,autopilot", "replay to the end without a debugger");
  command.add("g,goto", "start at event EVT", "EVT");
  command.add("f,onfork", "start before process PID first ran", "PID");
  command.add("verify", "compare memory too, where the trace has digests (record --checksum)");
  command.add("ignore-pcp", "use no checkpoint: replay from the start of the trace");
  command.add_quiet();
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(0, 1, "TRACE");
  if (arguments.has("goto") && arguments.has("onfork")) {
    throw UsageError("-g and -f both say where to start");
  }
  const std::string directory =
      find_trace(arguments.positional().empty() ? "" : arguments.positional()[0]);
  std::int64_t target = 1;
  if (arguments.has("goto")) {
    target = static_cast<std::int64_t>(parse_number(arguments.get("goto"), "an event"));
  } else if (arguments.has("onfork")) {
    target = first_event_of_process(
        TraceReader::open(directory),
        static_cast<std::int32_t>(parse_number(arguments.get("onfork"), "a process")));
  }
  ReplaySettings settings;
  settings.output = write_all;
  settings.warn = [&](const std::string& text) { console.warn(text); };
  settings.verify = arguments.has("verify");
  settings.ignore_checkpoints = arguments.has("ignore-pcp");
  const bool stay =
      !arguments.has("autopilot") && (arguments.has("goto") || arguments.has("onfork"));
  Replay replay = Replay::open(directory, settings, target);
  if (stay) {
    show_place(replay, console);
    return kExitOk;
  }
  while (!replay.at_end()) {
    replay.step();
  }
  if (settings.verify && replay.comparisons() == 0) {
    console.warn("the trace has no digests of memory to compare; record with --checksum N");
  } else if (settings.verify && !console.quiet) {
    std::fprintf(stderr, "pcp-rr: memory was compared %llu times and is as recorded\n",
                 static_cast<unsigned long long>(replay.comparisons()));
  }
  const std::optional<int> status = replay.exit_status();
  if (!status) {
    console.warn("the recording ends before the program did");
    return kExitOk;
  }
  return WIFSIGNALED(*status) ? 128 + WTERMSIG(*status) : WEXITSTATUS(*status);
}

} // namespace rrpcp::tools
