// What debuggers read before they connect: the commands of a recording, as gdb and lldb know them.
#pragma once

#include <string>

namespace rrpcp::tools {

// A script for gdb. Front ends that bring hooks of their own (Midas) keep what stands before
// "define hook-run".
std::string gdb_macros();
// A Python module for lldb's "command script import".
std::string lldb_macros();

} // namespace rrpcp::tools
