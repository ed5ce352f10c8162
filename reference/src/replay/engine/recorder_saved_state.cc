// XSAVE, XSAVEOPT and XSAVEC: the task executes them itself, and what they stored is recorded.

#include "replay/engine/recorder.h"
#include "replay/engine/saved_state.h"
#include "trace/event.h"

#include <algorithm>
#include <csignal>
#include <sys/ptrace.h>

namespace rrpcp::replay {

// False where the processor that the program was told of does not have the instruction: the fault
// is the program's own.
bool Recorder::save_state(RecordedTask& task, const user_regs_struct& registers,
                          const ReplacedInstructions::Entry& replaced) {
  if (!has_instruction(model_, replaced.code.kind)) {
    return false;
  }
  const bool shuns = task.shuns_faults();
  if (shuns) {
    keep_fault_action(task, SIGILL);
  }
  // Of a modest processor the program does not know all components.
  const std::uint64_t told = model_.extended_state();
  user_regs_struct asked = registers;
  asked.rax &= told;
  asked.rdx &= told >> 32;
  std::array<std::byte, kLongestInstruction> code{};
  const std::size_t length =
      task.memory.read_some(registers.rip, std::span(code).first(replaced.code.length));
  std::copy(replaced.original.begin(), replaced.original.end(), code.begin());
  const std::uint64_t area = stored_at(std::span(code).first(length), registers);

  task.tracee.set_registers(asked);
  task.memory.write(registers.rip, replaced.original);
  const process::TraceeStop stop = step(task);
  if (stop.gone()) {
    on_gone(task, stop);
    return true;
  }
  task.memory.write(registers.rip, kUndefinedInstruction);
  user_regs_struct after = task.tracee.registers();
  task.state = RecordedTask::State::kReady;
  if (after.rip != registers.rip + replaced.code.length) {
    // It cannot be stored there, or a signal comes first.
    task.tracee.set_registers(registers);
    scheduler_.report_again(task);
    return true;
  }
  after.rax = registers.rax;
  after.rdx = registers.rdx;
  task.tracee.set_registers(after);
  trace::EventData& event = writer_->begin(trace::EventKind::kTrap, task);
  event.instruction = replaced.code.kind;
  event.registers = registers;
  event.registers_after = after;
  if (shuns) {
    event.signal_mask = task.mask;
  }
  const std::uint64_t requested = (asked.rdx << 32) | (asked.rax & 0xffffffff);
  writer_->add_memory(task.memory, area,
                      stored_length(task.memory, area, replaced.code.kind, requested),
                      event.memory);
  tell_made_code(task);
  writer_->write();
  task.boundary = after;
  return true;
}

} // namespace rrpcp::replay
