// A task that is being recorded.
#pragma once

#include "process/remote_memory.h"
#include "process/tracee.h"
#include "replay/buffer/call_buffer.h"
#include "replay/engine/changed_pages.h"
#include "replay/engine/emulated_tracee.h"
#include "replay/engine/fault_action.h"
#include "replay/engine/made_code.h"
#include "replay/engine/replaced_instructions.h"
#include "trace/event.h"
#include "trace/system_call.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/user.h>
#include <vector>

namespace rrpcp::replay {

// PTRACE_O_* of every recorded task.
inline constexpr std::uintptr_t kRecorderOptions =
    PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
    PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL | PTRACE_O_TRACESECCOMP;

struct RecordedTask {
  enum class State {
    kReady,   // stopped where an event has brought it; may be let run
    kRunning, // the one that executes its program
    kInCall,  // in a system call that was begun by an event of its own
    kStopped, // in a group stop
    kTraced,  // in a stop that the recorded task that traces it has to end
    kDying,   // was killed where it stood; its end has not been reported yet
  };

  RecordedTask(pid_t task, pid_t process, process::Tracee own)
      : tid(task), pid(process), tracee(std::move(own)), memory(task) {}

  pid_t tid;
  pid_t pid;
  process::Tracee tracee;
  process::RemoteMemory memory;
  State state = State::kReady;
  // A stop was reported that was not looked at yet.
  bool reported = false;

  // The system call that the task is in, from its entry to its end.
  bool in_call = false;
  // The entry is in the trace already.
  bool begun = false;
  trace::SystemCall call;
  user_regs_struct entry{};
  // What the call reads, as it is at the entry: EventData::inputs and input_digest.
  std::vector<trace::EventData::Range> inputs;
  std::uint64_t input_digest = 0;
  // The recorder answers the call instead of the kernel.
  std::optional<std::int64_t> forced_result;
  // 1 or 2: the call writes to what the recorder has as that descriptor.
  int output = 0;
  // The kernel was given other arguments than the program's.
  bool arguments_changed = false;
  // It was taken back before the call once, for the kernel to find memory writable.
  bool came_anew = false;
  std::unique_ptr<PageDigests> digests;
  // What restart_syscall(2) goes on with.
  trace::SystemCall restarted;

  // Address of a `syscall` instruction of the program; 0: none known.
  std::uint64_t site = 0;

  // Registers at the latest event, as the kernel has them.
  user_regs_struct boundary{};
  // Signals (bit N-1) that were pending when the task was let run from there: one of them comes
  // before the task has executed anything. Any other signal, and one that comes after another stop,
  // may find the same registers in a loop that changes nothing but memory. (Of one that the kernel
  // had no room to queue, RLIMIT_SIGPENDING, nobody can tell.)
  std::uint64_t pending_there = 0;
  // It was let go on since, after a stop that was no event.
  bool went_on = false;
  bool comes_at_boundary(const user_regs_struct& registers, const siginfo_t& info) const {
    const bool queued = info.si_code != SI_USER || info.si_pid != 0;
    return !went_on && (!queued || (pending_there >> (info.si_signo - 1) & 1) != 0) &&
           std::memcmp(&registers, &boundary, sizeof registers) == 0;
  }
  // Signals that came between two events, to be delivered at the next.
  std::deque<siginfo_t> held;
  // Of held signals that a handler has blocked meanwhile, and that are pending for it again.
  std::vector<siginfo_t> pending;
  // The entry of the call that was called off in order to deliver a held signal.
  std::optional<user_regs_struct> called_off;
  // Signal with which the task goes on.
  int resume_signal = 0;
  // Its end is in the trace, and was not reported yet.
  bool end_recorded = false;
  // Registers of the instruction whose fault the task is about to die of.
  std::optional<user_regs_struct> fatal_fault;
  bool interrupting = false;
  // Its latest event is a preemption: it may well be preempted again.
  bool preempted = false;
  // Memory as it was when the task was let go on after a preemption.
  std::unique_ptr<PageDigests> slice;
  std::chrono::steady_clock::time_point resumed_at;

  // Blocked signals, outside of calls with a mask of their own.
  std::uint64_t mask = 0;
  bool blocks(int signal) const { return (mask >> (signal - 1) & 1) != 0; }
  // A signal was held back that is not blocked.
  bool signal_due() const {
    return std::any_of(held.begin(), held.end(),
                       [this](const siginfo_t& info) { return !blocks(info.si_signo); });
  }
  // Shared by the tasks that share their handlers (CLONE_SIGHAND).
  std::shared_ptr<FaultActions> fault_actions = std::make_shared<FaultActions>();
  // A signal that such instructions fault with is blocked or ignored.
  bool shuns_faults() const { return (mask & kFaultBits) != 0 || fault_actions->ignores_any(); }
  // Shared by the tasks that share their memory.
  std::shared_ptr<ReplacedInstructions> replaced = std::make_shared<ReplacedInstructions>();
  std::shared_ptr<MadeCode> made_code = std::make_shared<MadeCode>();
  std::shared_ptr<buffer::CallBuffer> buffer = std::make_shared<buffer::CallBuffer>();
  // Has made calls without a stop ever since it was let run: it may not be asked for one any more
  // (others wait).
  void want_stop() {
    if (buffer->active() && buffer->owner() == pid) {
      buffer->enable(memory, false);
      buffer->enable_saving(memory, false);
    }
  }
  // A filter of the program's own may skip calls: their entries are not left to ours.
  bool has_filter = false;
  // It has set PR_SET_NO_NEW_PRIVS itself, or has it from one who did. Outlives execve(2).
  bool forgoes_privileges = false;
  // The strict mode of seccomp(2), which our filter keeps the kernel from: a call that it does not
  // allow ends the task.
  bool strict = false;

  // What the program has set of attributes that the recorder needs for itself: PR_SET_DUMPABLE,
  // shared by the tasks that share their memory, and PR_SET_TSC.
  std::shared_ptr<std::optional<int>> dumpable = std::make_shared<std::optional<int>>();
  // Whether personality(2) says ADDR_NO_RANDOMIZE, which every recorded program has. Outlives
  // execve(2).
  bool says_not_random = false;
  // The processors that sched_getaffinity(2) says it may use, which all recorded tasks share one
  // of. Outlives execve(2).
  cpu_set_t affinity{};
  bool forgoes_counter = false;
  // CLONE_UNTRACED was taken out of the arguments of the clone3(2) that the task is in.
  bool untraced = false;

  // Event from which on its memory is to be digested. Shared by the tasks that share their memory.
  std::shared_ptr<std::int64_t> next_digest = std::make_shared<std::int64_t>(0);

  // The thread that is told of its end, and that thread's process; 0: the recorder.
  pid_t parent = 0;
  pid_t parent_process = 0;
  // Set where a recorded task traces it.
  std::unique_ptr<EmulatedTracee> traced;
  // It stands at the entry of a call of which the kernel knows nothing yet: a recorded tracer may
  // have changed its registers. With `emulated_entry` (PTRACE_SYSEMU) the call is not made.
  bool at_entry = false;
  bool emulated_entry = false;
  // The call is skipped, as the tracer wants it: it may have set the result.
  bool skipped = false;
  // The entry that comes next was shown to the tracer already.
  bool entry_shown = false;
  // A signal that the tracer wants delivered: it is told of it no more.
  std::optional<siginfo_t> passing;
  // Its wait4(2) waits in pause(2): for tracees that are no children of its process.
  bool paused = false;
  RequestEffects effects;

  // set_tid_address(2), CLONE_CHILD_CLEARTID; 0: none.
  std::uint64_t clear_tid = 0;
  // set_robust_list(2); 0: none.
  std::uint64_t robust_list = 0;
  // Where words of that list, when it was last looked at, lie in memory that processes share.
  struct SharedWord {
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
    std::uint64_t offset = 0; // in the file
  };
  std::vector<SharedWord> shared_futexes;
};

// Writes into the event, to which the task has run, the entry of the call that it is in.
inline void put_entry(const RecordedTask& task, trace::EventData& event) {
  event.registers = task.entry;
  event.inputs = task.inputs;
  event.input_digest = task.input_digest;
}

} // namespace rrpcp::replay
