// What backward travel has to know of events that it does not replay.
#pragma once

#include "rrpcp/trace/trace_reader.h"
#include "trace/event.h"

#include <cstdint>
#include <map>
#include <sys/types.h>
#include <vector>

namespace rrpcp::replay {

struct EventFacts {
  trace::EventKind kind = trace::EventKind::kSystemCall;
  // The task that runs until it.
  pid_t runner = 0;
  // What the task is called after it: another id where a thread executes a program.
  pid_t task = 0;
  // kNewTask
  pid_t child = 0;
  // The task executes instructions before it.
  bool has_way = false;
  int signal = 0; // kSignal
  std::uint64_t time = 0;
};

// Decodes stretches of events and keeps some. Throws Error.
class EventIndex {
public:
  explicit EventIndex(const TraceReader& trace) : trace_(trace) {}
  const EventFacts& facts(std::int64_t event);

private:
  const TraceReader& trace_;
  std::map<std::int64_t, std::vector<EventFacts>> stretches_;
};

} // namespace rrpcp::replay
