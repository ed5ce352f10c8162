// The frame around every command's main().
#pragma once

#include "common/command.h"
#include "common/console.h"
#include "common/exit_code.h"

#include <functional>
#include <kj/exception.h>
#include <string>

namespace rrpcp::tools {

struct ToolOptions {
  // Report errors of the library with the finer codes of exit_code_for(); otherwise kExitTrouble.
  bool fine_exit_codes = false;
};

// Runs `body` and returns the exit code of the process:
//
//   int main(int argc, char** argv) { return rrpcp::tools::run_tool("pcp-x", argc, argv, body); }
//
// Flushes standard output and notices every failure of it. UsageError and Error are reported by one
// line on standard error, and, where --json was given and nothing was written yet, as a JSON
// document on standard output as well. SIGPIPE is ignored while `body` runs, so that no process is
// left half-handled; where standard output was closed, the command then ends by SIGPIPE as usual.
int run_tool(const char* name, int argc, char** argv,
             const std::function<int(int, char**, Console&)>& body,
             const ToolOptions& options = {});

// Prints `error` as run_tool would, for commands that go on after it.
void report_error(Console& console, const Error& error);

// What Cap'n Proto throws where the manifest of `file` has a malformed part, as an Error(kDamaged).
Error error_from(const kj::Exception& exception, const std::string& file = {});

} // namespace rrpcp::tools
