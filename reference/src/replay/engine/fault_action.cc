#include "replay/engine/fault_action.h"

#include "replay/engine/injected_calls.h"

#include <span>
#include <sys/syscall.h>
#include <sys/user.h>
#include <unistd.h>

namespace rrpcp::replay {

namespace {

constexpr std::uint64_t kSignalSet = 8; // bytes

// Makes rt_sigaction(2) with `action` in the task's memory.
void call(process::Tracee& tracee, process::RemoteMemory& memory, std::uint64_t site, int signal,
          FaultAction& action, bool set) {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  user_regs_struct registers = tracee.registers();
  registers.orig_rax = ~std::uint64_t{0};
  const std::uint64_t mask = tracee.signal_mask();
  tracee.set_signal_mask(~std::uint64_t{0});
  const std::uint64_t place = registers.rsp & ~(page - 1);
  FaultAction before{};
  memory.read(place, std::as_writable_bytes(std::span(before)));
  if (set) {
    memory.write(place, std::as_bytes(std::span(action)));
  }
  InjectedCalls calls(tracee, site);
  const std::int64_t result =
      calls.call(SYS_rt_sigaction, signal, set ? place : 0, set ? 0 : place, kSignalSet);
  if (!set) {
    memory.read(place, std::as_writable_bytes(std::span(action)));
  }
  memory.write(place, std::as_bytes(std::span(before)));
  tracee.set_registers(registers);
  tracee.set_signal_mask(mask);
  if (calls.stop_discarded()) {
    ::syscall(SYS_tkill, tracee.tid(), SIGSTOP);
  }
  calls.check("asking for the action of a signal", result);
}

} // namespace

FaultAction fault_action(process::Tracee& tracee, process::RemoteMemory& memory, std::uint64_t site,
                         int signal) {
  FaultAction action{};
  call(tracee, memory, site, signal, action, false);
  return action;
}

void set_fault_action(process::Tracee& tracee, process::RemoteMemory& memory, std::uint64_t site,
                      int signal, const FaultAction& action) {
  FaultAction copy = action;
  call(tracee, memory, site, signal, copy, true);
}

} // namespace rrpcp::replay
