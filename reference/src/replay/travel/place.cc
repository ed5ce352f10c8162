#include "rrpcp/replay/timeline.h"

#include <charconv>

namespace rrpcp {

namespace {

template <typename T> bool parse_all(std::string_view text, T& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

constexpr std::string_view kEnd = "end";

} // namespace

std::string Place::to_string() const {
  std::string text = std::to_string(event);
  if (arrived()) {
    text += "+" + std::string(kEnd);
  } else if (instructions != 0) {
    text += "+" + std::to_string(instructions);
  }
  return text;
}

std::optional<Place> Place::parse(std::string_view text) {
  Place place;
  const std::size_t plus = text.find('+');
  if (!parse_all(text.substr(0, plus), place.event) || place.event < 0) {
    return std::nullopt;
  }
  if (plus != std::string_view::npos) {
    const std::string_view rest = text.substr(plus + 1);
    if (rest == kEnd) {
      place.instructions = kArrived;
    } else if (!parse_all(rest, place.instructions) || place.arrived()) {
      return std::nullopt;
    }
  }
  return place;
}

std::string_view stop_reason_name(StopReason reason) {
  switch (reason) {
  case StopReason::kStep:
    return "step";
  case StopReason::kBreakpoint:
    return "breakpoint";
  case StopReason::kWatchpoint:
    return "watchpoint";
  case StopReason::kSignal:
    return "signal";
  case StopReason::kExit:
    return "exit";
  case StopReason::kFork:
    return "fork";
  case StopReason::kVforkDone:
    return "vfork done";
  case StopReason::kExec:
    return "exec";
  case StopReason::kThreadBegin:
    return "thread begins";
  case StopReason::kThreadEnd:
    return "thread ends";
  case StopReason::kCallEntry:
    return "call";
  case StopReason::kCallReturn:
    return "call returns";
  case StopReason::kInterrupted:
    return "interrupted";
  case StopReason::kEndOfHistory:
    return "end of history";
  case StopReason::kStartOfHistory:
    return "start of history";
  }
  return "";
}

} // namespace rrpcp
