// Calls that a recorder has a task make in the middle of its program.
#pragma once

#include "process/proc_maps.h"
#include "replay/engine/injected_calls.h"
#include "replay/engine/made_code.h"
#include "replay/engine/recorded_task.h"
#include "replay/engine/suspended_filters.h"
#include "rrpcp/error.h"

#include <csignal>
#include <cstdint>
#include <optional>
#include <sys/syscall.h>
#include <sys/user.h>
#include <unistd.h>
#include <vector>

namespace rrpcp::replay {

// Between two instructions of a stopped task, which makes calls for the recorder. Signals that
// come meanwhile stay pending.
class Interlude {
public:
  explicit Interlude(RecordedTask& task)
      : task_(task), registers_(task.tracee.registers()), mask_(task.tracee.signal_mask()),
        suspended_(task) {
    task.tracee.set_signal_mask(~std::uint64_t{0});
    const MadeCode& made = *task.made_code;
    if (task.site != 0 && !made.contains(task.site)) {
      calls_.emplace(task.tracee, task.site);
      return;
    }
    // One that stays executable meanwhile.
    std::vector<process::ProcMapping> mappings = process::read_mappings(task.tid);
    std::erase_if(mappings, [&](const process::ProcMapping& mapping) {
      return !made.within(mapping.start, mapping.end).empty();
    });
    site_.emplace(task.tracee, mappings);
    calls_.emplace(task.tracee, site_->address());
  }
  Interlude(const Interlude&) = delete;
  Interlude& operator=(const Interlude&) = delete;
  ~Interlude() {
    try {
      site_.reset();
      if (task_.tracee.attached() && task_.tracee.stopped()) {
        registers_.orig_rax = ~std::uint64_t{0};
        task_.tracee.set_registers(registers_);
        task_.tracee.set_signal_mask(mask_);
      }
    } catch (const Error&) {
      // It was killed.
    }
    if (calls_->stop_discarded()) {
      ::syscall(SYS_tkill, task_.tid, SIGSTOP);
    }
  }

  bool protect(std::uint64_t start, std::uint64_t end, std::uint64_t protection) {
    return calls_->call(SYS_mprotect, start, end - start, protection) == 0;
  }
  InjectedCalls& calls() { return *calls_; }
  // What the task goes on with.
  void set_registers(const user_regs_struct& registers) { registers_ = registers; }
  const user_regs_struct& registers() const { return registers_; }

private:
  RecordedTask& task_;
  user_regs_struct registers_;
  std::uint64_t mask_;
  SuspendedFilters suspended_;
  std::optional<SyscallSite> site_;
  std::optional<InjectedCalls> calls_;
};

} // namespace rrpcp::replay
