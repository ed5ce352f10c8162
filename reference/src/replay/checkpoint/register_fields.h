// The registers of a replayed task as a rerun shows them.
#pragma once

#include "process/tracee.h"
#include "rrpcp/replay/rerun.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <sys/user.h>
#include <vector>

namespace rrpcp::replay {

// What the fields of a line are taken from.
struct TaskRegisters {
  std::int64_t event = 0;
  std::uint64_t instructions = 0;
  std::int32_t tid = 0;
  std::int64_t ticks = 0;
  user_regs_struct general{};
  // NT_X86_XSTATE.
  std::vector<std::byte> extended;
};

// Reads the registers of a stopped task, the extended ones only where `fields` need them.
void read_registers(const process::Tracee& tracee, const std::vector<RegisterField>& fields,
                    TaskRegisters& out);

// Appends a line, newline included.
void append_line(const std::vector<RegisterField>& fields, const TaskRegisters& registers, bool raw,
                 std::string& out);

} // namespace rrpcp::replay
