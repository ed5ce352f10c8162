#include "replay/checkpoint/thread_attributes.h"

#include "process/capture/scratch_memory.h"
#include "process/remote_calls.h"
#include "process/remote_memory.h"
#include "process/restore/process_builder.h"
#include "rrpcp/schema/state.capnp.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <optional>
#include <span>
#include <sys/prctl.h>
#include <sys/syscall.h>

namespace rrpcp::replay {

namespace {

constexpr int kLastSignal = 64;

// The kernel's struct sigaction on x86-64.
struct KernelSigaction {
  std::uint64_t handler;
  std::uint64_t flags;
  std::uint64_t restorer;
  std::uint64_t mask;
};

} // namespace

void set_stored_thread(process::Tracee& thread, const CheckpointReader& reader,
                       std::uint32_t task_index, std::optional<std::uint64_t> instruction,
                       bool dispositions) {
  const schema::State::Reader state = reader.state();
  const schema::Task::Reader task = state.getTasks()[task_index];
  process::capture::ScratchMemory scratch(thread.tid());
  process::RemoteMemory memory(thread.tid());
  process::RemoteCalls calls(thread, instruction);
  scratch.map(calls);
  auto place = [&](const auto& value) {
    memory.write(scratch.address(), std::as_bytes(std::span(&value, 1)));
    return scratch.address();
  };
  std::array<KernelSigaction, kLastSignal + 1> actions{};
  if (task.getSignalHandlers() != schema::NO_INDEX) {
    for (schema::SignalAction::Reader action :
         state.getSignalHandlerTables()[task.getSignalHandlers()].getActions()) {
      if (action.getSignal() <= kLastSignal) {
        actions[action.getSignal()] = {action.getHandler(), action.getFlags(), action.getRestorer(),
                                       action.getMask()};
      }
    }
  }
  for (int signal = 1; dispositions && signal <= kLastSignal; ++signal) {
    if (signal != SIGKILL && signal != SIGSTOP) {
      calls.require("setting a disposition", SYS_rt_sigaction, static_cast<std::uint64_t>(signal),
                    place(actions[static_cast<std::size_t>(signal)]), 0, sizeof(std::uint64_t));
    }
  }
  stack_t stack{};
  stack.ss_flags = SS_DISABLE;
  if (task.hasAlternateStack()) {
    stack.ss_sp = reinterpret_cast<void*>(task.getAlternateStack().getAddress());
    stack.ss_flags = static_cast<int>(task.getAlternateStack().getFlags()) & ~SS_ONSTACK;
    stack.ss_size = task.getAlternateStack().getSize();
  }
  calls.require("setting the alternate stack", SYS_sigaltstack, place(stack), 0);
  std::array<char, 16> name{};
  std::copy(task.getName().begin(), task.getName().end(), name.begin());
  calls.require("naming a thread", SYS_prctl, PR_SET_NAME, place(name), 0, 0, 0);
  calls.require("setting the exit address", SYS_set_tid_address, task.getClearChildTid());
  if (task.getRobustListHead() != 0) {
    calls.require("setting the robust list", SYS_set_robust_list, task.getRobustListHead(),
                  task.getRobustListLength());
  }
  if (task.hasRseq()) {
    const schema::RestartableSequence::Reader rseq = task.getRseq();
    constexpr std::uint32_t kOldLength = 32;
    calls.require("registering rseq", SYS_rseq, rseq.getAddress(),
                  rseq.getLength() != 0 ? rseq.getLength() : kOldLength, rseq.getFlags(),
                  rseq.getSignature());
  }
  scratch.unmap(calls);
  calls.finish();
  process::restore::set_stored_registers(thread, reader, task_index);
}

} // namespace rrpcp::replay
