// The option --allow of the commands that capture and restore.
#pragma once

#include "common/command.h"
#include "rrpcp/process/capture.h"

namespace rrpcp::tools {

// Adds --allow NAME,... to a command.
void add_allow(Command& command, const std::string& help);
// The names given, by one option or several, each with names separated by commas. Throws UsageError
// for a name that is not in allowable_names().
AllowList parse_allow(const Arguments& arguments);

} // namespace rrpcp::tools
