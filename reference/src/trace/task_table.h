// The table of recorded threads, gathered from events.
#pragma once

#include "rrpcp/schema/recording.capnp.h"
#include "rrpcp/schema/trace.capnp.h"
#include "rrpcp/trace/trace_reader.h"

#include <cstdint>

namespace rrpcp::trace {

// Whether the event makes, executes or ends a task.
bool tells_of_tasks(schema::Event::Reader event);

// Brings the table up to an event that tells of tasks. Events come in the order of their numbers.
void apply_event(TaskTable& tasks, std::int64_t number, schema::Event::Reader event);

void encode_tasks(const TaskTable& tasks, capnp::List<schema::TraceTask>::Builder out);
TaskTable decode_tasks(capnp::List<schema::TraceTask>::Reader in);

} // namespace rrpcp::trace
