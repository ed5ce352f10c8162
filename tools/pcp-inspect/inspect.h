// The subcommands of pcp-inspect. Each gets its own arguments, argv[0] being its name, and returns
// the exit code.
#pragma once

#include "common/tool_main.h"

namespace rrpcp::tools {

int inspect_document(int argc, char** argv, Console& console);
int inspect_info(int argc, char** argv, Console& console);
int inspect_maps(int argc, char** argv, Console& console);
int inspect_tasks(int argc, char** argv, Console& console);
int inspect_bt(int argc, char** argv, Console& console);
int inspect_regs(int argc, char** argv, Console& console);
int inspect_mem(int argc, char** argv, Console& console);
int inspect_files(int argc, char** argv, Console& console);
int inspect_chunks(int argc, char** argv, Console& console);
int inspect_list(int argc, char** argv, Console& console);
int inspect_report(int argc, char** argv, Console& console);
int inspect_trace(int argc, char** argv, Console& console);
int inspect_diff(int argc, char** argv, Console& console);

// What every help text of pcp-inspect ends with.
inline constexpr const char* kInspectExitCodes =
    "Exit codes: 0 done, 2 a file could not be read or wrong usage.";

} // namespace rrpcp::tools
