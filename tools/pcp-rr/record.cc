// pcp-rr record: runs a program and records it.

#include "rrpcp/replay/record.h"

#include "common/text.h"
#include "pcp-rr/follower.h"
#include "pcp-rr/pcp_rr.h"
#include "rrpcp/error.h"
#include "rrpcp/trace/trace_directory.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace rrpcp::tools {
namespace {

constexpr const char* kRecordDetails =
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
                 text == "--checksum" || text == "--cpuid" || text == "-p" ||
                 text == "--print-trace-dir") {
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

// Where what was found in program files is kept; empty: nowhere.
std::string cache_directory() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name); // NOLINT: before any thread
    return std::string(value != nullptr ? value : "");
  };
  if (const std::string cache = variable("XDG_CACHE_HOME"); !cache.empty()) {
    return cache + "/pcp-rr";
  }
  const std::string home = variable("HOME");
  return home.empty() ? "" : home + "/.cache/pcp-rr";
}

// The program, to which signals for this command are passed on.
volatile std::sig_atomic_t g_program = 0;

// Signals that this command was started with ignored.
std::uint64_t g_ignored = 0;

// Whether a recorded process has sent the signal: to its process group, which is ours too. Only
// what a handler may do.
bool sent_by_program(const siginfo_t& info) {
  if (info.si_code != SI_USER && info.si_code != SI_TKILL && info.si_code != SI_QUEUE) {
    return false;
  }
  char path[32] = "/proc/";
  char digits[12];
  std::size_t count = 0;
  for (pid_t rest = info.si_pid; rest > 0 && count < sizeof digits; rest /= 10) {
    digits[count++] = static_cast<char>('0' + rest % 10);
  }
  char* at = path + std::strlen(path);
  while (count > 0) {
    *at++ = digits[--count];
  }
  std::strcpy(at, "/status");
  char text[2048] = {};
  const int file = ::open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    return false;
  }
  [[maybe_unused]] const ssize_t n = ::read(file, text, sizeof text - 1);
  ::close(file);
  const char* tracer = std::strstr(text, "TracerPid:");
  return tracer != nullptr && std::atoi(tracer + std::strlen("TracerPid:")) == ::getpid();
}

void pass_to_program(int signal, siginfo_t* info, void*) {
  const int error = errno;
  if (g_program != 0 && !sent_by_program(*info)) {
    ::kill(static_cast<pid_t>(g_program), signal);
  }
  errno = error;
}

// A fault of our own ends us as always; what somebody sends does not.
void outlive(int signal, siginfo_t* info, void*) {
  if (info->si_code > 0 && (signal == SIGSEGV || signal == SIGBUS || signal == SIGILL ||
                            signal == SIGFPE || signal == SIGTRAP || signal == SIGSYS)) {
    std::signal(signal, SIG_DFL); // met again when this returns
  }
}

void do_nothing(int, siginfo_t*, void*) {}

// What the terminal, or the program, sends to the process group reaches the program as well, and
// this command sees it to its end. (By handlers, which the program does not inherit.) What was
// ignored stays so.
void prepare_signals(std::uint64_t ignored) {
  using Handler = void (*)(int, siginfo_t*, void*);
  auto handle = [](int signal, Handler handler, int flags) {
    struct sigaction action {};
    ::sigaction(signal, nullptr, &action);
    if (handler == outlive && signal != SIGBUS && action.sa_handler != SIG_DFL) {
      return; // a sanitizer's
    }
    action = {};
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO | flags;
    ::sigaction(signal, &action, nullptr); // some cannot be handled
  };
  for (int signal = 1; signal < NSIG; ++signal) {
    if ((ignored >> (signal - 1) & 1) != 0) {
      continue;
    }
    switch (signal) {
    case SIGTERM:
    case SIGHUP:
    case SIGUSR1:
    case SIGUSR2:
      handle(signal, pass_to_program, 0);
      break;
    case SIGINT:
    case SIGQUIT:
    case SIGXFSZ:
      handle(signal, do_nothing, 0);
      break;
    case SIGCHLD: // nothing is to become of them, or what they do is right for us too
    case SIGCONT:
    case SIGTSTP:
    case SIGTTIN:
    case SIGTTOU:
    case SIGWINCH:
    case SIGPIPE: // as run_tool has it
      break;
    default:
      handle(signal, outlive, SA_RESTART);
      break;
    }
  }
  handle(Follower::kTold, do_nothing, 0); // waits end by it
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

// The descriptor of --print-trace-dir. The program does not get it: who waits for its end would
// wait for every process that is left.
int descriptor_for_name(const Arguments& arguments) {
  const int fd = static_cast<int>(
      parse_number(arguments.get("print-trace-dir"), "--print-trace-dir", INT32_MAX));
  if (fd > STDERR_FILENO && ::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
    throw UsageError("--print-trace-dir: descriptor " + std::to_string(fd) + " is not open");
  }
  return fd;
}

void print_trace_dir(int fd, const std::string& directory) {
  std::error_code error;
  const std::string line = std::filesystem::weakly_canonical(directory, error).string() + "\n";
  if (error || ::write(fd, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    throw system_error(errno,
                       "cannot print the trace's directory on descriptor " + std::to_string(fd));
  }
  if (fd > STDERR_FILENO) {
    ::close(fd);
  }
}

} // namespace

void note_inherited_signals() {
  g_ignored = ignored_signals();
  std::signal(SIGCHLD, SIG_DFL); // stops of the processes that are traced are waited for by it
}

int rr_record(int argc, char** argv, Console& console) {
  Command command({"pcp-rr record", "[OPTION]... [--] PROGRAM [ARGUMENT]...",
                   "Runs a program and records it.", kRecordDetails});
  command.add("o,output-trace-dir",
              "make the trace in this directory, which must not exist or be "
              "empty",
              "DIR");
  command.add("p,print-trace-dir",
              "write the trace's directory and a newline to the open descriptor FD", "FD");
  command.add("w,wait", "record until all processes have ended, not only the first");
  command.add("checkpoint-interval", "make a checkpoint every N events, while recording", "N");
  command.add("checksum",
              "store digests of all writable memory every N events, for replay --verify", "N");
  command.add("n,no-syscall-buffer",
              "stop the program at every system call, also at those that could be made without");
  command.add("no-cache", "look through all program files, also through those that are known");
  command.add("self-check", "replay beside the recording, and end it where the replay differs");
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
  auto interval_of = [&](const std::string& name) {
    if (!arguments.has(name)) {
      return std::int64_t{0};
    }
    const std::uint64_t value = parse_number(arguments.get(name), "--" + name, INT64_MAX);
    if (value == 0) {
      throw UsageError("--" + name + " must be above 0");
    }
    return static_cast<std::int64_t>(value);
  };
  const FollowerOptions following{interval_of("checkpoint-interval"), arguments.has("self-check")};
  RecordOptions options;
  options.command = arguments.positional();
  options.wait_for_all = arguments.has("wait");
  options.checksum_interval = interval_of("checksum");
  options.buffer_calls = !arguments.has("no-syscall-buffer");
  options.cache_directory = arguments.has("no-cache") ? "" : cache_directory();
  options.cpuid = arguments.has("cpuid") ? arguments.get("cpuid") : "";
  options.notice = [&](const std::string& text) {
    if (!console.quiet) {
      std::fprintf(stderr, "pcp-rr: %s\n", printable(text).c_str());
    }
  };
  std::optional<int> name_to;
  if (arguments.has("print-trace-dir")) {
    name_to = descriptor_for_name(arguments);
  }
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
    if (name_to) {
      print_trace_dir(*name_to, options.directory);
    }
  };
  options.ignored_signals = g_ignored;
  prepare_signals(options.ignored_signals);
  std::optional<Follower> follower;
  if (following.interval != 0 || following.check) {
    follower.emplace(options.directory, following);
    options.stop = [&] { return follower->divergence(); };
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
  if (follower) {
    follower->wait();
    if (const std::optional<std::string> differs = follower->divergence()) {
      throw Error(ErrorCode::kDivergence, *differs)
          .with_hint("the program has ended with status " + std::to_string(result.status) +
                     ", but its recording cannot be relied upon");
    }
  }
  if (result.killed != 0) {
    options.notice(human_count(result.killed, "process was", "processes were") +
                   " still running and ended with the first one (-w records to their end)");
  }
  return pass_on(result.status);
}

} // namespace rrpcp::tools
