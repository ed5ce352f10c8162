// What the events say about every task up to some of them.
#pragma once

#include "rrpcp/schema/trace.capnp.h"
#include "rrpcp/trace/trace_reader.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <sys/user.h>

namespace rrpcp::trace {

// A task between two events.
struct TaskMoment {
  // Its events so far, without the one that made it.
  std::int64_t ticks = 0;
  // General registers; nothing where the events do not say.
  std::optional<user_regs_struct> registers;
};

// Follows the tasks of a trace from event to event.
class TaskMoments {
public:
  // Takes the next event. Throws Error(kDamaged) for register sets of a wrong size.
  void apply(std::int64_t number, schema::Event::Reader event);

  // Living tasks by their ids.
  const std::map<std::int32_t, TaskMoment>& living() const { return tasks_; }

private:
  TaskTable table_;
  std::map<std::int32_t, TaskMoment> tasks_;
};

// The first general register in which the two differ, as "rip 0x1 instead of 0x2"; empty: none. The
// register that remembers a call's number (orig_rax) means nothing between events and is not
// compared.
std::string register_difference(const user_regs_struct& found, const user_regs_struct& expected);

} // namespace rrpcp::trace
