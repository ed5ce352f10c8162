// The way of a replayed task to an instruction that it has made itself, maybe on this way.

#include "base/page.h"
#include "process/proc_maps.h"
#include "process/proc_status.h"
#include "process/remote_calls.h"
#include "replay/engine/fault_action.h"
#include "replay/engine/host_trials.h"
#include "replay/engine/injected_calls.h"
#include "replay/engine/register_compare.h"
#include "replay/engine/replay_session.h"
#include "replay/engine/trapped_instructions.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstddef>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <utility>
#include <vector>

namespace rrpcp::replay {

namespace {

constexpr int kChangeable = PROT_READ | PROT_WRITE | PROT_EXEC;

bool has_trap(std::uint64_t address, std::span<const std::uint64_t> traps) {
  return std::find(traps.begin(), traps.end(), address) != traps.end();
}

} // namespace

// Whether it lies in private memory that is writable and executable at once.
bool ReplaySession::is_changeable(Task& task, std::uint64_t address) {
  const auto [found, unknown] = changeable_.try_emplace({task.pid, address & ~(kPage - 1)}, false);
  if (unknown) {
    for (const process::ProcMapping& mapping : process::read_mappings(task.tracee.tid())) {
      if (mapping.contains(address)) {
        found->second = (mapping.protection & kChangeable) == kChangeable && !mapping.shared;
      }
    }
  }
  return found->second;
}

void ReplaySession::protect_code(Task& task, int protection) {
  const user_regs_struct registers = task.tracee.registers();
  std::vector<process::ProcMapping> mappings = process::read_mappings(task.tracee.tid());
  std::erase_if(mappings, [&](const process::ProcMapping& mapping) {
    return mapping.start < guarded_.second && mapping.end > guarded_.first;
  });
  {
    SyscallSite instruction(task.tracee, mappings);
    InjectedCalls calls(task.tracee, instruction.address());
    calls.require("protecting code", SYS_mprotect, guarded_.first, guarded_.second - guarded_.first,
                  protection);
  }
  task.tracee.set_registers(at_user(registers));
}

// An interruption that came too late for a stop before is passed over.
process::TraceeStop ReplaySession::step_once(Task& task) {
  for (;;) {
    task.tracee.resume(PTRACE_SYSEMU_SINGLESTEP);
    const process::TraceeStop stop = *await_stop(task);
    if (!stop.event_stop()) {
      return stop;
    }
  }
}

// Lets the task run with its code's page as it is, but for `ud2` in place of the instruction;
// whenever the program writes to the page, it does so undisturbed, and the page is looked at again.
Way ReplaySession::run_to_changeable_code(Task& task, const Limits& limits) {
  const std::uint64_t address = current_.registers->rip;
  const std::uint64_t page = address & ~(kPage - 1);
  const std::uint64_t last = (address + kUndefinedInstruction.size() - 1) & ~(kPage - 1);
  constexpr std::uint64_t kBit = std::uint64_t{1} << (SIGSEGV - 1);
  const std::uint64_t mask = task.tracee.signal_mask();
  std::optional<FaultAction> action; // which a fault makes the kernel forget
  if ((mask & kBit) != 0 ||
      (process::ProcStatus::read(task.pid, task.tracee.tid()).ignored & kBit) != 0) {
    action = fault_action(task.tracee, task.memory, site(task), SIGSEGV);
  }
  for (;;) {
    std::array<std::byte, kLongestInstruction> code{};
    const std::size_t length = task.memory.read_some(address, code);
    const bool there = decode_trapped(std::span(code).first(length)).has_value();
    guarded_ = {page, (is_changeable(task, last) ? last : page) + kPage};
    protect_code(task, PROT_READ | PROT_EXEC);
    if (there) {
      task.memory.write(address, kUndefinedInstruction);
    }
    wrote_code_ = false;
    const Way way = run_with_traps(task, limits);
    if (there) {
      task.memory.write(address, std::span(code).first(kUndefinedInstruction.size()));
    }
    protect_code(task, kChangeable);
    guarded_ = {};
    if (!wrote_code_) {
      return way;
    }
    if (action) {
      set_fault_action(task.tracee, task.memory, site(task), SIGSEGV, *action);
      task.tracee.set_signal_mask(mask);
    }
    if (step_once(task).signal() != SIGTRAP) {
      diverged("it faults on its way to the instruction");
    }
    if (has_trap(task.tracee.registers().rip, limits.traps)) {
      return Way::kTrap;
    }
  }
}

// Lets the task run to an instruction that is not there yet: the program makes it on its way, by
// way of another mapping.
Way ReplaySession::run_to_unseen_code(Task& task, const Limits& limits) {
  const std::uint64_t address = current_.registers->rip;
  if (!breakpoints_) {
    breakpoints_ = breakpoints_fire();
  }
  if (*breakpoints_ && limits.traps.empty()) {
    constexpr std::uintptr_t kExecuteAtFirst = 1; // of DR7
    const auto put = [&](std::size_t number, std::uintptr_t value) {
      return ::ptrace(PTRACE_POKEUSER, task.tracee.tid(),
                      offsetof(struct user, u_debugreg) + number * sizeof(long), value) == 0;
    };
    if (put(0, address) && put(7, kExecuteAtFirst)) {
      const Way way = run_to_stop(task, limits);
      put(7, 0);
      return way;
    }
  }
  for (;;) {
    std::array<std::byte, kLongestInstruction> code{};
    const user_regs_struct registers = task.tracee.registers();
    if (registers.rip == address &&
        decode_trapped(std::span(code).first(task.memory.read_some(address, code)))) {
      if (std::optional<std::string> difference =
              first_difference(registers, *current_.registers)) {
        diverged("at an instruction that the program made, " + *difference);
      }
      return Way::kArrived;
    }
    if ((limits.deadline && std::chrono::steady_clock::now() >= *limits.deadline) ||
        (limits.interrupt != nullptr && limits.interrupt->load(std::memory_order_relaxed))) {
      return Way::kInterrupted;
    }
    const process::TraceeStop stop = step_once(task);
    if (has_trap(task.tracee.registers().rip, limits.traps)) {
      return Way::kTrap;
    }
    if (stop.syscall_stop() ||
        (stop.signal() != 0 && stop.signal() != SIGTRAP && task.tracee.signal_info().si_code > 0)) {
      diverged("it did not come to the instruction");
    }
  }
}

} // namespace rrpcp::replay
