#include "replay/checkpoint/instruction_steps.h"

#include <array>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <sys/ptrace.h>

namespace rrpcp::replay {

namespace {

constexpr std::uint64_t kTrapFlag = 0x100; // of eflags

// The first bytes of the instruction at an address.
struct Code {
  std::array<std::byte, 4> bytes{};
  std::size_t size = 0;

  Code(process::RemoteMemory& memory, std::uint64_t address)
      : size(memory.read_some(address, bytes)) {}

  bool starts_with(std::initializer_list<unsigned> wanted) const {
    std::size_t i = 0;
    for (unsigned byte : wanted) {
      if (i >= size || bytes[i] != static_cast<std::byte>(byte)) {
        return false;
      }
      ++i;
    }
    return true;
  }
  bool is_system_call() const { return starts_with({0x0f, 0x05}); }
  // Pushes the flags, and with them the one by which the processor steps.
  bool is_push_of_flags() const { return starts_with({0x9c}) || starts_with({0x66, 0x9c}); }
};

// Whether what the task stands at is the event: a system call, or an instruction that never gets by
// without one.
bool begins_event(const trace::EventData& event, const Code& code, std::uint64_t address) {
  return code.is_system_call() || event.is_step() ||
         (event.kind == trace::EventKind::kTrap && event.registers->rip == address);
}

enum class Stepped { kNothing, kPart, kInstruction };

Stepped step_once(ReplaySession& session) {
  if (session.at_end()) {
    return Stepped::kNothing;
  }
  const trace::EventData& event = session.current();
  const pid_t tid = event.former_task != 0 ? event.former_task : event.task;
  const TaskState* state = session.state().find_task(tid);
  if (state == nullptr || state->in_call || !event.registers ||
      event.kind == trace::EventKind::kPreemption) {
    return Stepped::kNothing;
  }
  process::Tracee& tracee = session.tracee(tid);
  process::RemoteMemory& memory = session.memory(tid);
  const std::uint64_t address = tracee.registers().rip;
  const Code code(memory, address);
  if (begins_event(event, code, address)) {
    return Stepped::kNothing;
  }
  for (;;) {
    tracee.resume(PTRACE_SINGLESTEP);
    const process::TraceeStop stop = tracee.wait_stop();
    if (stop.signal() == SIGTRAP) {
      break;
    }
    if (stop.signal() != 0) {
      return Stepped::kNothing; // the instruction faulted: it is the event
    }
  }
  const user_regs_struct registers = tracee.registers();
  if (code.is_push_of_flags()) {
    auto low = memory.read_value<std::uint16_t>(registers.rsp);
    low = static_cast<std::uint16_t>(low & ~kTrapFlag);
    memory.write(registers.rsp, std::as_bytes(std::span(&low, 1)));
  }
  return registers.rip != address ? Stepped::kInstruction : Stepped::kPart;
}

} // namespace

bool step_instruction(ReplaySession& session) {
  for (;;) {
    const Stepped stepped = step_once(session);
    if (stepped != Stepped::kPart) {
      return stepped == Stepped::kInstruction;
    }
  }
}

void step_instructions(ReplaySession& session, const std::function<void()>& stepped) {
  while (step_instruction(session)) {
    stepped();
  }
}

} // namespace rrpcp::replay
