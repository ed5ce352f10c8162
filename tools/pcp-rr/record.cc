// pcp-rr record: runs a program and records it.

#include "rrpcp/record.h"

#include "common/text.h"
#include "pcp-rr/checkpointer.h"
#include "pcp-rr/pcp_rr.h"
#include "rrpcp/error.h"
#include "rrpcp/trace_directory.h"

#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <sys/wait.h>
#include <vector>

namespace rrpcp::tools {
namespace {

constexpr const char* kDetails =
    R"(The program has this command's terminal, descriptors and environment, and its exit status and
the signal that ends it are passed on. Before that the codes of pcp-rr(1) tell of failures to
record.

Example:
  pcp-rr record -o /tmp/trace -- sort -u words.txt)";

// The arguments with a "--" before the program, where the user left it out: what follows the
// program's name are its own options.
std::vector<const char*> with_separator(int argc, char** argv) {
  std::vector<const char*> out;
  bool done = false;
  for (int i = 0; i < argc; ++i) {
    const std::string_view text = argv[i];
    if (i > 0 && !done) {
      if (text == "--") {
        done = true;
      } else if (!text.starts_with('-')) {
        out.push_back("--");
        done = true;
      } else if (text == "-o" || text == "--output-trace-dir" || text == "--checkpoint-interval" ||
                 text == "--cpuid") {
        out.push_back(argv[i]);
        if (++i == argc) {
          break;
        }
      }
    }
    out.push_back(argv[i]);
  }
  return out;
}

// The program, to which signals for this command are passed on.
volatile std::sig_atomic_t g_program = 0;

void pass_to_program(int signal) {
  if (g_program != 0) {
    ::kill(static_cast<pid_t>(g_program), signal);
  }
}

void do_nothing(int) {}

// What the terminal sends reaches the program as well, and this command sees it to its end. (By
// handlers, which the program does not inherit.)
void prepare_signals() {
  struct sigaction action {};
  action.sa_handler = do_nothing;
  for (int signal : {SIGINT, SIGQUIT, SIGXFSZ}) {
    ::sigaction(signal, &action, nullptr);
  }
  action.sa_handler = pass_to_program;
  for (int signal : {SIGTERM, SIGHUP, SIGUSR1, SIGUSR2}) {
    ::sigaction(signal, &action, nullptr);
  }
  std::signal(SIGPIPE, SIG_DFL);
}

// Ends this process as the program ended.
int pass_on(int status) {
  if (!WIFSIGNALED(status)) {
    return WEXITSTATUS(status);
  }
  const int signal = WTERMSIG(status);
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none); // the program has left its own
  std::fflush(stdout);
  std::signal(signal, SIG_DFL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  ::sigprocmask(SIG_UNBLOCK, &set, nullptr);
  std::raise(signal);
  return 128 + signal;
}

} // namespace

int rr_record(int argc, char** argv, Console& console) {
  Command command({"pcp-rr record", "[OPTION]... [--] PROGRAM [ARGUMENT]...",
                   "Runs a program and records it.", kDetails});
  command.add("o,output-trace-dir",
              "make the trace in this directory, which must not exist or be "
              "empty",
              "DIR");
  command.add("w,wait", "record until all processes have ended, not only the first");
  command.add("checkpoint-interval", "make a checkpoint every N events, while recording", "N");
  command.add("cpuid",
              "let CPUID tell of no more than LEVEL has: x86-64, x86-64-v2, x86-64-v3; 'native' is "
              "the processor as it is",
              "LEVEL");
  command.add_quiet();
  std::vector<const char*> words = with_separator(argc, argv);
  const Arguments arguments = command.parse(static_cast<int>(words.size()), words.data(), console);
  if (arguments.positional().empty()) {
    throw UsageError("which program?");
  }
  const std::uint64_t interval =
      arguments.has("checkpoint-interval")
          ? parse_number(arguments.get("checkpoint-interval"), "--checkpoint-interval", INT64_MAX)
          : 0;
  if (arguments.has("checkpoint-interval") && interval == 0) {
    throw UsageError("--checkpoint-interval must be above 0");
  }
  RecordOptions options;
  options.command = arguments.positional();
  options.wait_for_all = arguments.has("wait");
  options.cpuid = arguments.has("cpuid") ? arguments.get("cpuid") : "";
  options.notice = [&](const std::string& text) {
    if (!console.quiet) {
      std::fprintf(stderr, "pcp-rr: %s\n", printable(text).c_str());
    }
  };
  if (arguments.has("output-trace-dir")) {
    options.directory = arguments.get("output-trace-dir");
    make_trace_directory_at(options.directory);
  } else {
    options.directory = make_trace_directory(trace_root(), options.command.front());
    if (!console.quiet) {
      std::fprintf(stderr, "pcp-rr: recording into %s\n", printable(options.directory).c_str());
    }
  }
  bool started = false;
  options.started = [&](pid_t pid) {
    g_program = pid;
    started = true;
    if (!arguments.has("output-trace-dir")) {
      set_latest_trace(options.directory);
    }
  };
  prepare_signals();
  std::optional<Checkpointer> checkpointer;
  if (interval != 0) {
    checkpointer.emplace(options.directory, static_cast<std::int64_t>(interval));
  }
  RecordResult result;
  try {
    result = record_program(options);
  } catch (const Error&) {
    if (!started) { // there is nothing in it
      std::error_code ignored;
      std::filesystem::remove_all(options.directory, ignored);
    }
    throw;
  }
  checkpointer.reset();
  if (result.killed != 0) {
    options.notice(human_count(result.killed, "process was", "processes were") +
                   " still running and ended with the first one (-w records to their end)");
  }
  return pass_on(result.status);
}

} // namespace rrpcp::tools
