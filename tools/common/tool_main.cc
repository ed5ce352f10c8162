#include "common/tool_main.h"

#include "common/text.h"

#include <csignal>
#include <cstdio>
#include <new>
#include <optional>

namespace rrpcp::tools {
namespace {

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
    } catch (const Error& error) { // standard output failed while an error was reported
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
