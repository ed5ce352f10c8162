// The forms that pcp-convert writes and reads. Each function returns the exit code of the command.
#pragma once

#include "common/command.h"

#include <string>
#include <vector>

namespace rrpcp::tools {

// --to rr-2025: files, then the trace.
int convert_to_rr2025(const Arguments& arguments, Console& console);
// --to core: a file.
int convert_to_core(const Arguments& arguments, Console& console);
// --from core: a core file.
int convert_from_core(const Arguments& arguments, Console& console);

} // namespace rrpcp::tools
