// The trace that a command is about.
#pragma once

#include "common/console.h"
#include "rrpcp/trace/trace_reader.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace rrpcp::tools {

// Opens the trace that a user names (find_trace); says so on standard error where it is not whole.
TraceReader open_trace(const std::string& name, Console& console);

// The same for commands that take "[TRACE] [EVENTS...]": the first argument is the trace unless it
// reads like events.
struct EventRange {
  std::int64_t first = 1;
  std::int64_t last = INT64_MAX;
};
// "127", "1000-5000", "1000-", "-5000", "end"; throws UsageError. `count` is the number of the last
// event.
EventRange parse_events(std::string_view text, std::int64_t count);
bool reads_like_events(std::string_view text);

// A wait status of waitpid(2) as rr's commands show it: the exit code, or minus the signal.
std::string exit_text(std::int32_t wait_status);

// A command line for people: words with blanks or foreign characters in single quotes.
std::string command_text(const std::vector<std::string>& words);

} // namespace rrpcp::tools
