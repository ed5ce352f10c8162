// pcp-rr replay: runs a recorded program again.

#include "rrpcp/replay/replay.h"

#include "common/text.h"
#include "pcp-rr/debugger_launch.h"
#include "pcp-rr/gdb_macros.h"
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

constexpr const char* kReplayDetails =
    R"(Without -a, --place and -s it starts gdb (or the debugger of -d), connected, at the event, the
process or the start. OPTIONS after -- are given to it, as those of -o are. In gdb: reverse-continue,
reverse-step and the like, run EVENT, checkpoint, restart N, write-checkpoints, load-checkpoints,
when, back, ...: 'help user-defined' lists them, gdb's own are as always.

The replay starts from the newest checkpoint of the trace at or before the event, and from the
start of the trace without one. A checkpoint that cannot be used is passed over with a warning.

With -a the exit status is that of the program, 128 + N where signal N ended it. Otherwise 0, or the
codes of pcp-rr(1).

Examples:
  pcp-rr replay                      the latest recording, in gdb
  pcp-rr replay -g 250000            the same, at event 250000
  pcp-rr replay -d lldb              in lldb
  pcp-rr replay -s 0                 waits for a debugger, and says how it is to be connected
  pcp-rr replay -a                   once more, without a debugger
  pcp-rr replay -a -g 250000         only what it printed from event 250000 on)";

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

// Where a debugger begins, and what it sees.
struct Target {
  std::int64_t event = 1;
  bool at_end = false;
  // 0: the first process, or where it is gone by then, the one that runs.
  std::int32_t process = 0;
};

// "-p": a process by its id, or the first that executed a program of that name.
Target executed(const TraceReader& trace, const std::string& wanted) {
  const bool number = !wanted.empty() && wanted.find_first_not_of("0123456789") == wanted.npos;
  for (const TaskRecord& task : trace.tasks()) {
    for (const TaskExecution& execution : task.executions) {
      const std::string& path = execution.path;
      const std::string name = execution.command_line.empty() ? "" : execution.command_line[0];
      if (number ? std::to_string(task.pid) == wanted
                 : path == wanted || path.substr(path.rfind('/') + 1) == wanted ||
                       name.substr(name.rfind('/') + 1) == wanted) {
        return {execution.event + 1, false, task.pid};
      }
    }
  }
  throw Error(ErrorCode::kNotFound, number ? "no process " + wanted + " executed a program"
                                           : "no process executed '" + printable(wanted) + "'")
      .in_file(trace.directory())
      .with_hint("'pcp-rr ps' lists the processes; -f is for those that were only forked");
}

Target target_of(const Arguments& arguments, const std::string& directory) {
  Target target;
  if (arguments.has("onfork") || arguments.has("onprocess")) {
    const TraceReader trace = TraceReader::open(directory);
    if (arguments.has("onfork")) {
      target.process =
          static_cast<std::int32_t>(parse_number(arguments.get("onfork"), "a process", INT32_MAX));
      target.event = first_event_of_process(trace, target.process);
    } else {
      target = executed(trace, arguments.get("onprocess"));
    }
  }
  if (arguments.has("goto")) {
    target.event = std::max(target.event, static_cast<std::int64_t>(parse_number(
                                              arguments.get("goto"), "an event", INT64_MAX)));
  }
  target.at_end = arguments.has("goto-exit");
  return target;
}

// Path of what the process executes there.
std::string program_at(const TraceReader& trace, const Target& target) {
  std::string path;
  for (const TaskRecord& task : trace.tasks()) {
    if (target.process != 0 ? task.pid != target.process : task.parent_pid != 0) {
      continue;
    }
    for (const TaskExecution& execution : task.executions) {
      if (path.empty() || target.at_end || execution.event < target.event) {
        path = execution.path;
      }
    }
  }
  return path;
}

// Marks what code wrote that was only run by the debugger: each line begins with a word about it.
class MarkedOutput {
public:
  explicit MarkedOutput(bool quiet, int instead) : quiet_(quiet), instead_(instead) {}

  void operator()(int descriptor, std::span<const std::byte> bytes, bool diverted) {
    if (quiet_) {
      return;
    }
    const int fd = instead_ >= 0 ? instead_ : descriptor;
    if (!diverted) {
      write_all(fd, bytes);
      return;
    }
    std::string text;
    for (const std::byte byte : bytes) {
      if (at_line_start_) {
        text += "[diversion] ";
      }
      text += static_cast<char>(byte);
      at_line_start_ = byte == std::byte('\n');
    }
    write_all(fd, std::as_bytes(std::span(text)));
  }

private:
  bool quiet_;
  int instead_;
  bool at_line_start_ = true;
};

DebugRequest debug_request(const Arguments& arguments, const std::string& directory,
                           const std::vector<std::string>& options) {
  DebugRequest request;
  const bool mi = arguments.has("interpreter");
  const bool quiet = arguments.has("no-redirect-output");
  const bool ignore = arguments.has("ignore-pcp");
  const std::uint64_t limit =
      parse_number(arguments.get("base-memory"), "--base-memory", std::uint64_t{1} << 40);
  const Target target = target_of(arguments, directory);
  request.open = [=] {
    TimelineSettings settings;
    // A machine interface has standard output for itself.
    settings.output = MarkedOutput(quiet, mi ? STDERR_FILENO : -1);
    settings.warn = [](const std::string& text) {
      std::fprintf(stderr, "pcp-rr: warning: %s\n", printable(text).c_str());
    };
    settings.ignore_checkpoints = ignore;
    settings.base_memory = limit << 20;
    Timeline timeline = Timeline::open(directory, settings, target.event);
    if (target.at_end) {
      timeline.go_to(timeline.end());
    }
    return timeline;
  };
  request.prepare = [=](Timeline& timeline) {
    DebugServerSettings settings;
    settings.process = target.process;
    const std::vector<TimelineTask> tasks = timeline.tasks();
    if (settings.process == 0) {
      for (const TaskRecord& task : timeline.trace().tasks()) {
        if (task.parent_pid == 0) {
          settings.process = task.pid;
          break;
        }
      }
      const auto alive = [&](const TimelineTask& task) { return task.pid == settings.process; };
      if (std::none_of(tasks.begin(), tasks.end(), alive)) {
        for (const TimelineTask& task : tasks) {
          settings.process = task.tid == timeline.current_task() ? task.pid : settings.process;
        }
      }
    }
    settings.restart = timeline.here();
    if (target.process != 0 && target.event < timeline.trace().event_count() &&
        std::none_of(tasks.begin(), tasks.end(),
                     [&](const TimelineTask& task) { return task.pid == target.process; })) {
      settings.restart = Place{target.event + 1, 0}; // the event that makes it
      timeline.go_to(*settings.restart);
    }
    return settings;
  };
  request.debugger = arguments.get("debugger");
  request.program = program_at(TraceReader::open(directory), target);
  for (std::string name : arguments.get_all("interpreter")) {
    name.erase(0, name.find_first_not_of('='));
    request.options.push_back("--interpreter=" + name);
  }
  if (arguments.has("fullname")) {
    request.options.push_back("--fullname");
  }
  for (const std::string& file : arguments.get_all("gdb-x")) {
    request.options.insert(request.options.end(), {"-x", file});
  }
  for (const std::string& option : arguments.get_all("debugger-option")) {
    request.options.push_back(option);
  }
  request.options.insert(request.options.end(), options.begin(), options.end());
  return request;
}

int replay_to_end(const Arguments& arguments, const std::string& directory, std::int64_t target,
                  Console& console) {
  ReplaySettings settings;
  settings.output = write_all;
  settings.warn = [&](const std::string& text) { console.warn(text); };
  settings.verify = arguments.has("verify");
  settings.ignore_checkpoints = arguments.has("ignore-pcp");
  Replay replay = Replay::open(directory, settings, target);
  if (arguments.has("place")) {
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

} // namespace

int rr_replay(int argc, char** argv, Console& console) {
  Command command({"pcp-rr replay", "[OPTION]... [TRACE] [-- OPTIONS]",
                   "Replays a recording in a debugger, forward and backward.", kReplayDetails,
                   true});
  command.add("a,autopilot", "replay to the end without a debugger, printing what it printed");
  command.add("place", "no debugger: print where the replay stands, and end");
  command.add("g,goto", "start at event EVT", "EVT");
  command.add("e,goto-exit", "start at the end");
  command.add("f,onfork", "start before process PID first ran", "PID");
  command.add("p,onprocess", "start after a process executed its program", "PID|COMMAND");
  command.add("d,debugger", "the debugger", "FILE", "gdb");
  command.add("x,gdb-x", "let the debugger read commands from FILE, once connected", "FILE");
  command.add("o,debugger-option", "an option for the debugger; once for each word", "OPTION");
  command.add("i,interpreter", "as gdb's option: mi", "NAME");
  command.add("fullname", "as gdb's option");
  command.add("s,dbgport", "start no debugger, wait for one on PORT; 0 takes a free one", "PORT");
  command.add("h,dbghost", "with -s, the address to listen on, instead of the loopback one",
              "HOST");
  command.add("k,keep-listening", "with -s, wait for the next debugger when one detaches");
  command.add("q,no-redirect-output", "do not print what the program wrote, nor remarks");
  command.add("verify", "with -a, compare memory too, where the trace has digests (record "
                        "--checksum)");
  command.add("ignore-pcp", "use no checkpoint: replay from the start of the trace");
  command.add("base-memory", "what states kept for going backward may occupy, in MiB", "N", "1024");
  // What follows "--" is the debugger's.
  int own = 0;
  while (own < argc && std::string_view(argv[own]) != "--") {
    ++own;
  }
  const std::vector<std::string> options(argv + std::min(own + 1, argc), argv + argc);
  const Arguments arguments = command.parse(own, argv, console);
  arguments.expect(0, 1, "TRACE");
  console.quiet = arguments.has("no-redirect-output");
  if (arguments.has("onfork") && arguments.has("onprocess")) {
    throw UsageError("-f and -p both say which process");
  }
  const std::string directory =
      find_trace(arguments.positional().empty() ? "" : arguments.positional()[0]);
  if (arguments.has("autopilot") || arguments.has("place")) {
    return replay_to_end(arguments, directory, target_of(arguments, directory).event, console);
  }
  if (arguments.has("verify")) {
    throw UsageError("--verify is for -a");
  }
  const DebugRequest request = debug_request(arguments, directory, options);
  TraceReader::open(directory); // what is wrong with it is said before a debugger starts
  if (arguments.has("dbgport")) {
    const std::uint64_t port = parse_number(arguments.get("dbgport"), "--dbgport", 65535);
    serve_debuggers(request, arguments.get_or("dbghost", ""), static_cast<std::uint16_t>(port),
                    arguments.has("keep-listening"));
    return kExitOk;
  }
  if (::isatty(STDIN_FILENO) == 0 && request.options.empty()) {
    throw UsageError("there is no terminal for the debugger: -a prints what the program printed, "
                     "-s PORT waits for a debugger, -x FILE gives it commands");
  }
  become_debugger(request);
}

int rr_gdbinit(int argc, char** argv, Console& console) {
  Command command(
      {"pcp-rr gdbinit", "[OPTION]...",
       "Prints the commands that gdb needs for a recording, to be read by it ('source').",
       "'pcp-rr replay' gives them to the gdb that it starts. With --lldb, a module for\n"
       "'command script import'.\n\nExit codes: 0 done, 2 wrong usage."});
  command.add("lldb", "those for lldb");
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(0, 0, "no argument");
  console.write(arguments.has("lldb") ? lldb_macros() : gdb_macros());
  return kExitOk;
}

} // namespace rrpcp::tools
