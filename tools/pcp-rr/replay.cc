// pcp-rr replay: runs a recorded program again.

#include "common/text.h"
#include "pcp-rr/pcp_rr.h"
#include "replay/engine/replay_session.h"
#include "rrpcp/error.h"
#include "rrpcp/trace_directory.h"

#include <cerrno>
#include <cstdio>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace rrpcp::tools {
namespace {

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

} // namespace

int rr_replay(int argc, char** argv, Console& console) {
  Command command({"pcp-rr replay", "[OPTION]... [TRACE]",
                   "Replays a recording and prints what the program printed."});
  command.add("a,autopilot", "replay to the end without a debugger");
  const Arguments arguments = command.parse(argc, argv, console);
  arguments.expect(0, 1, "TRACE");
  replay::ReplayOptions options;
  options.output = write_all;
  options.warn = [&](const std::string& text) { console.warn(text); };
  replay::ReplaySession session(
      find_trace(arguments.positional().empty() ? "" : arguments.positional()[0]),
      std::move(options));
  while (!session.at_end()) {
    session.step();
  }
  if (!session.state().ended) {
    console.warn("the recording ends before the program did");
    return kExitOk;
  }
  const int status = session.state().status;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

} // namespace rrpcp::tools
