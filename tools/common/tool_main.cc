#include "common/tool_main.h"

#include "common/text.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <optional>
#include <string_view>
#include <system_error>
#include <unistd.h>

namespace rrpcp::tools {
namespace {

const char* g_tool_name = ""; // for the handler

// SIGPIPE ignored for a scope.
class IgnoreSigpipe {
public:
  IgnoreSigpipe() {
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGPIPE, &ignore, &before_);
  }
  ~IgnoreSigpipe() { ::sigaction(SIGPIPE, &before_, nullptr); }
  IgnoreSigpipe(const IgnoreSigpipe&) = delete;
  IgnoreSigpipe& operator=(const IgnoreSigpipe&) = delete;

private:
  struct sigaction before_ {};
};

[[noreturn]] void die_of_sigpipe() {
  std::signal(SIGPIPE, SIG_DFL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
  std::raise(SIGPIPE);
  std::_Exit(128 + SIGPIPE);
}

// Where a file is cut while a command reads it through a mapping, the kernel sends SIGBUS: a
// sentence and an exit code instead of a signal's. Only what a signal handler may do.
void report_cut_file(int signal, siginfo_t* info, void* /*context*/) {
  if (info->si_code != BUS_ADRERR) { // sent by somebody, or of another kind
    std::signal(signal, SIG_DFL);
    std::raise(signal);
    return;
  }
  constexpr std::string_view kText =
      ": a file was cut, or its disk failed, while it was read (SIGBUS)\n";
  const char* const name = g_tool_name;
  if (::write(2, name, std::strlen(name)) >= 0 && ::write(2, kText.data(), kText.size()) >= 0) {
  }
  std::_Exit(kExitTrouble);
}

void catch_cut_files(const char* name) {
  g_tool_name = name;
  struct sigaction action {};
  action.sa_sigaction = report_cut_file;
  action.sa_flags = static_cast<int>(SA_SIGINFO | SA_RESETHAND | SA_NODEFER);
  ::sigaction(SIGBUS, &action, nullptr);
}

struct Outcome {
  int code = kExitOk;
  std::optional<Error> error;
  bool usage = false;
};

Outcome run_body(int argc, char** argv, Console& console,
                 const std::function<int(int, char**, Console&)>& body) {
  try {
    const int code = body(argc, argv, console);
    console.flush();
    return {code, std::nullopt};
  } catch (const HelpShown&) {
    return {};
  } catch (const UsageError& error) {
    return {kExitTrouble, Error(ErrorCode::kInvalidArgument, error.what()), true};
  } catch (const Error& error) {
    return {kExitTrouble, error};
  } catch (const kj::Exception& exception) {
    return {kExitTrouble, error_from(exception)};
  } catch (const std::bad_alloc&) {
    return {kExitTrouble, Error(ErrorCode::kSystem, "out of memory")};
  } catch (const std::system_error& error) { // a thread that cannot be started, as a rule
    return {kExitTrouble, system_error(error.code().value(), "the system does not allow a thread, "
                                                             "or something else that is needed")};
  } catch (const ClosedPipe&) {
    throw;
  } catch (const std::exception& exception) {
    return {kExitTrouble,
            Error(ErrorCode::kInternal, std::string("unexpected: ") + exception.what())};
  }
}

} // namespace

ExitCode exit_code_for(ErrorCode code) {
  switch (code) {
  case ErrorCode::kNotFound:
  case ErrorCode::kProcessGone:
    return kExitNotFound;
  case ErrorCode::kPermission:
  case ErrorCode::kAlreadyTraced:
    return kExitPermission;
  case ErrorCode::kNoSpace:
    return kExitNoSpace;
  case ErrorCode::kUnsupportedState:
    return kExitUnsupportedState;
  case ErrorCode::kBackingFile:
    return kExitBackingFile;
  case ErrorCode::kNotACheckpoint:
  case ErrorCode::kIncomplete:
  case ErrorCode::kDamaged:
  case ErrorCode::kUnsupportedFeature:
  case ErrorCode::kLimit:
    return kExitBadCheckpoint;
  case ErrorCode::kExists:
  case ErrorCode::kIdInUse:
    return kExitConflict;
  case ErrorCode::kDivergence:
    return kExitNo;
  case ErrorCode::kSystem:
  case ErrorCode::kInvalidArgument:
  case ErrorCode::kForeignTrace:
  case ErrorCode::kInternal:
    break;
  }
  return kExitTrouble;
}

Error error_from(const kj::Exception& exception, const std::string& file) {
  const Error error(ErrorCode::kDamaged, std::string("the manifest has a malformed part: ") +
                                             exception.getDescription().cStr());
  return (file.empty() ? error : error.in_file(file)).with_diagnostic("manifest.message");
}

void report_error(Console& console, const Error& error) {
  if (console.json && !console.used()) {
    console.write_json(json_error(error));
  }
  console.flush();
  std::fprintf(stderr, "%s: %s\n", console.tool_name().c_str(), printable(error.what()).c_str());
}

int run_tool(const char* name, int argc, char** argv,
             const std::function<int(int, char**, Console&)>& body, const ToolOptions& options) {
  catch_cut_files(name);
  Console console(name);
  bool closed = false;
  Outcome outcome;
  {
    const IgnoreSigpipe ignore;
    try {
      outcome = run_body(argc, argv, console, body);
      if (outcome.error && outcome.usage) {
        report_error(console, outcome.error->with_hint(std::string("see '") + name + " --help'"));
      } else if (outcome.error) {
        report_error(console, *outcome.error);
      }
    } catch (const ClosedPipe&) {
      closed = true;
    } catch (const std::exception& error) { // an error could not be reported
      std::fprintf(stderr, "%s: %s\n", name, error.what());
      outcome.code = kExitTrouble;
    }
  }
  if (closed) {
    die_of_sigpipe();
  }
  if (outcome.error && options.fine_exit_codes && !outcome.usage) {
    return exit_code_for(outcome.error->code());
  }
  return outcome.code;
}

} // namespace rrpcp::tools
