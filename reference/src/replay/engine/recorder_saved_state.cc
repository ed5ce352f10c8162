// XSAVE, XSAVEOPT and XSAVEC: the task executes them itself, and what they stored is recorded.
// XSAVEC as a rule without a stop (replay/buffer).

#include "replay/engine/recorder.h"
#include "replay/engine/saved_state.h"
#include "rrpcp/error.h"
#include "trace/event.h"

#include <algorithm>
#include <csignal>
#include <cstring>
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
  task.buffer->show_saving(task.memory, registers.rip, false);
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
  task.buffer->show_saving(task.memory, registers.rip, true);
  user_regs_struct after = task.tracee.registers();
  task.state = RecordedTask::State::kReady;
  if (after.rip != registers.rip + replaced.code.length) {
    // It cannot be stored there, or a signal comes first.
    task.tracee.set_registers(registers);
    scheduler_.report_first(task);
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

// Leads the program from the XSAVEC of a mapping to the area's code. A modest processor's is
// another.
void Recorder::lead_saving(RecordedTask& task, const process::ProcMapping& mapping,
                           const std::function<std::uint64_t(std::uint64_t, std::uint64_t)>& more) {
  if (!model_.native()) {
    return;
  }
  task.replaced->visit(
      mapping.start, mapping.end,
      [&](std::uint64_t address, const ReplacedInstructions::Entry& entry) {
        std::array<std::byte, kLongestInstruction> bytes{};
        const std::span<std::byte> code = std::span(bytes).first(entry.code.length);
        if (entry.code.kind != schema::TrappedInstruction::XSAVEC ||
            address + code.size() > mapping.end ||
            task.memory.read_some(address, code) != code.size() ||
            !std::equal(kUndefinedInstruction.begin(), kUndefinedInstruction.end(), code.begin())) {
          return;
        }
        std::copy(entry.original.begin(), entry.original.end(), code.begin());
        task.buffer->lead_saving(task.memory, address, code, more);
      });
}

// Whether a task stands in the area's code since XSAVEC or CPUID has to be carried out where the
// program has it: it is not done there at present, or has faulted.
bool Recorder::wants_saving(const RecordedTask& task, const process::TraceeStop& stop) {
  const int signal = stop.signal();
  if (!task.buffer->active() || (signal != SIGILL && signal != SIGSEGV && signal != SIGBUS)) {
    return false;
  }
  const std::uint64_t rip = task.tracee.registers().rip;
  return rip == (signal == SIGILL ? buffer::address_of_refusal() : buffer::address_of_saving()) &&
         is_synchronous(task.tracee.signal_info());
}

// Carries it out there, at the stop of such a task. False at others.
bool Recorder::save_refused(RecordedTask& task, const process::TraceeStop& stop) {
  if (task.state != RecordedTask::State::kRunning || stop.gone() || !wants_saving(task, stop)) {
    return false;
  }
  bool made = false;
  const user_regs_struct registers =
      task.buffer->program_registers(task.memory, task.tracee.registers(), made);
  const ReplacedInstructions::Entry* replaced = task.replaced->find(registers.rip);
  if (replaced == nullptr) {
    throw Error(ErrorCode::kInternal, "the program was led from an instruction that is not known");
  }
  task.tracee.set_registers(registers);
  if (saves_state(replaced->code.kind)) {
    return save_state(task, registers, *replaced);
  }
  if (task.shuns_faults()) {
    keep_fault_action(task, SIGILL);
  }
  task.went_on = true; // the program has `ud2` there
  task.state = RecordedTask::State::kReady;
  return true;
}

// One that was carried out without a stop.
void Recorder::record_saved_state(RecordedTask& task, const buffer::BufferedCall& call) {
  const buffer::CallEntry& entry = *call.entry;
  std::array<std::uint64_t, 2> others{}; // rcx, r11
  if (call.pieces.size() != 2 || call.pieces[0].bytes.size() != sizeof others) {
    throw Error(ErrorCode::kInternal, "an entry of the buffer is not what its code writes");
  }
  std::memcpy(others.data(), call.pieces[0].bytes.data(), sizeof others);
  trace::EventData& event = writer_->begin(trace::EventKind::kTrap, task);
  event.instruction = schema::TrappedInstruction::XSAVEC;
  user_regs_struct& registers = task.boundary;
  take_buffered(entry, registers);
  registers.rax = static_cast<std::uint64_t>(entry.result);
  registers.rcx = others[0];
  registers.r11 = others[1];
  registers.orig_rax = ~std::uint64_t{0};
  event.registers_after = registers;
  registers.rip = task.buffer->instead_before(entry.registers.rip);
  event.registers = registers;
  registers.rip = entry.registers.rip;
  event.memory.push_back({call.pieces[1].address, event.append(call.pieces[1].bytes)});
  writer_->write();
}

} // namespace rrpcp::replay
