// Starting a debugger on a replay, and the sockets by which they talk.
#pragma once

#include "rrpcp/replay/debug_server.h"

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace rrpcp::tools {

// What of a trace is to be debugged, and how it is shown.
struct DebugRequest {
  // Opens the timeline and says what the server shows; called in the process that traces.
  std::function<Timeline()> open = {};
  std::function<DebugServerSettings(Timeline&)> prepare = {};
  // Name of the debugger, "gdb" or a path; what begins with "lldb" is spoken to as lldb.
  std::string debugger = "gdb";
  // What the process executes, for lldb, which does not ask for it. Empty: not known.
  std::string program = {};
  // Given to it after those that connect it.
  std::vector<std::string> options = {};
};

// Becomes the debugger, connected to a process of its own that replays and ends with it. Throws
// Error(kNotFound) where there is no such debugger; does not return otherwise.
[[noreturn]] void become_debugger(const DebugRequest& request);

// Listens on a TCP port for debuggers (0: one that is free), says on standard error how to connect,
// and serves one; with `again`, one after the other. `host`: the address to listen on; empty: the
// loopback one. Throws Error where the port cannot be had, or the replay cannot go on.
void serve_debuggers(const DebugRequest& request, const std::string& host, std::uint16_t port,
                     bool again);

// The program's file as a debugger should read it: the recorded path where the file there is still
// the one that was recorded, else the copy that the trace keeps.
std::string program_to_read(const Timeline& timeline, std::int32_t process);

} // namespace rrpcp::tools
