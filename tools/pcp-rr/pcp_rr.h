// The subcommands of pcp-rr. Each gets its own arguments, argv[0] being its name, and returns the
// exit code.
#pragma once

#include "common/tool_main.h"

namespace rrpcp::tools {

int rr_create_checkpoints(int argc, char** argv, Console& console);
int rr_record(int argc, char** argv, Console& console);
int rr_replay(int argc, char** argv, Console& console);
int rr_rerun(int argc, char** argv, Console& console);

} // namespace rrpcp::tools
