// The subcommands of pcp-rr. Each gets its own arguments, argv[0] being its name, and returns the
// exit code.
#pragma once

#include "common/tool_main.h"

namespace rrpcp::tools {

// Remembers how this command was started, for the program that it records. Called first.
void note_inherited_signals();

// Whether it was started by a link named "rr", as front ends of rr do.
bool called_as_rr();

int rr_create_checkpoints(int argc, char** argv, Console& console);
int rr_doctor(int argc, char** argv, Console& console);
int rr_dump(int argc, char** argv, Console& console);
int rr_gdbinit(int argc, char** argv, Console& console);
int rr_ls(int argc, char** argv, Console& console);
int rr_pack(int argc, char** argv, Console& console);
int rr_ps(int argc, char** argv, Console& console);
int rr_record(int argc, char** argv, Console& console);
int rr_replay(int argc, char** argv, Console& console);
int rr_rerun(int argc, char** argv, Console& console);
int rr_segments(int argc, char** argv, Console& console);
int rr_traceinfo(int argc, char** argv, Console& console);

// What the help texts of subcommands that only show something end with.
inline constexpr const char* kShowExitCodes =
    "Exit codes: 0 done, 2 wrong usage, 3 no such trace, 8 the trace cannot be used; others as\n"
    "pcp-rr(1) lists them.";

} // namespace rrpcp::tools
