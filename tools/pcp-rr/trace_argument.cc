#include "pcp-rr/trace_argument.h"

#include "common/command.h"
#include "common/text.h"
#include "rrpcp/trace/trace_directory.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <sys/wait.h>

namespace rrpcp::tools {

TraceReader open_trace(const std::string& name, Console& console) {
  TraceReader trace = TraceReader::open(find_trace(name));
  if (trace.problem()) {
    console.warn(
        trace.being_recorded()
            ? printable(trace.stream_name()) + ": is being recorded; " +
                  human_count(static_cast<std::uint64_t>(trace.event_count()), "event", "events") +
                  " so far"
            : printable(trace.problem()->what()));
  }
  return trace;
}

namespace {

std::int64_t parse_event(std::string_view text, std::int64_t count) {
  if (text == "end") {
    return count;
  }
  return static_cast<std::int64_t>(parse_number(text, "EVENTS", INT64_MAX));
}

} // namespace

EventRange parse_events(std::string_view text, std::int64_t count) {
  const std::size_t dash = text.find('-');
  EventRange range;
  if (dash == std::string_view::npos) {
    range.first = range.last = parse_event(text, count);
    return range;
  }
  if (dash != 0) {
    range.first = parse_event(text.substr(0, dash), count);
  }
  if (dash + 1 != text.size()) {
    range.last = parse_event(text.substr(dash + 1), count);
  }
  if (range.first > range.last) {
    throw UsageError("the events '" + printable(text) + "' end before they begin");
  }
  return range;
}

bool reads_like_events(std::string_view text) {
  return !text.empty() && (text == "end" || text.find_first_not_of("0123456789-") == text.npos);
}

std::string exit_text(std::int32_t wait_status) {
  if (WIFSIGNALED(wait_status)) {
    return std::to_string(-WTERMSIG(wait_status));
  }
  return std::to_string(WEXITSTATUS(wait_status));
}

std::string command_text(const std::vector<std::string>& words) {
  static constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                             "0123456789_-+=./:,@%^";
  std::string text;
  for (const std::string& word : words) {
    if (!text.empty()) {
      text += ' ';
    }
    if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) {
      text += word;
      continue;
    }
    text += '\'';
    for (const char c : word) {
      text += c == '\'' ? std::string("'\\''") : std::string(1, c);
    }
    text += '\'';
  }
  return printable(text);
}

} // namespace rrpcp::tools
