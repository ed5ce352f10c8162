// A replay: the recorded processes, made again, event by event.
#pragma once

#include "base/scoped_fd.h"
#include "process/remote_memory.h"
#include "process/restore/xsave_area.h"
#include "process/tracee.h"
#include "replay/engine/fault_action.h"
#include "replay/engine/memory_digests.h"
#include "replay/engine/processor_binding.h"
#include "replay/engine/supervisor_state.h"
#include "replay/engine/task_waiter.h"
#include "rrpcp/trace/trace_reader.h"
#include "trace/event.h"
#include "trace/system_call.h"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <sys/types.h>
#include <vector>

namespace rrpcp::replay {

struct ReplayOptions {
  // Gets what the program wrote to its standard output (1) and error (2), in order.
  std::function<void(int descriptor, std::span<const std::byte> bytes)> output = {};
  // Compares the digests of memory that the trace has.
  bool verify = false;
  // Told about what may make the replay differ from the recording.
  std::function<void(const std::string&)> warn = {};
  // Another session of this process has found that the machine can replay.
  bool machine_tried = false;
};

// How the way of a task to its event went on.
enum class Way {
  kArrived,     // at the event
  kTrap,        // at one of the addresses at which it was to stop
  kInterrupted, // somewhere
};

// A task of a replay that somebody else has made: stopped under the ptrace of the calling thread,
// given kTaskTraceOptions, with memory, registers and signal mask as at the event.
struct AdoptedTask {
  pid_t tid = 0; // recorded
  pid_t pid = 0; // of its real process
  process::Tracee tracee;
  std::uint64_t site = 0; // address of a `syscall` instruction; 0: not known
};

// PTRACE_O_* of every replayed task.
extern const std::uintptr_t kTaskTraceOptions;

// The registers for a task that goes on in its program: the kernel must not restart any call.
inline user_regs_struct at_user(user_regs_struct registers) {
  registers.orig_rax = ~std::uint64_t{0};
  return registers;
}

// Stands at an event that is current and not yet applied. Use from one thread: it traces the
// processes. Destruction kills and reaps them.
//
// All methods throw Error: kDivergence where the replay does not do what was recorded, naming
// event, task and the first difference; kDamaged; kBackingFile where a kept file is missing;
// kProcessGone where somebody killed a process. After an Error the session can only be destroyed.
class ReplaySession {
public:
  // At the first event: there are no processes yet. Throws as TraceReader::open; kUnsupportedState
  // where the processor lacks what the recording may have used.
  ReplaySession(const std::string& directory, ReplayOptions options);
  // At `state.event`, with tasks that exist already: one for each of `state.tasks`; `objects` has a
  // descriptor (O_RDWR) for each of `state.objects`.
  ReplaySession(const std::string& directory, ReplayOptions options, SupervisorState state,
                std::vector<AdoptedTask> tasks, std::map<std::uint32_t, ScopedFd> objects);
  ReplaySession(const ReplaySession&) = delete;
  ReplaySession& operator=(const ReplaySession&) = delete;
  ~ReplaySession();

  const TraceReader& trace() const { return trace_; }
  // How often memory was compared.
  std::uint64_t comparisons() const { return comparisons_; }
  const SupervisorState& state() const { return state_; }
  // Number of the current event; at the end one more than the last.
  std::int64_t event() const { return state_.event; }
  bool at_end() const { return events_.at_end(); }
  // The current event. Not at the end.
  const trace::EventData& current() const { return current_; }
  // Where the current event lies in the stream.
  StreamPosition position() const { return events_.position(); }

  // Applies the current event: lets its task run up to it, compares, and does what it did.
  void step();
  // The same, but gives up after `limit` where the task computes longer: false then. The task is
  // stopped at an arbitrary instruction between its events; another call goes on from there.
  bool step_within(std::chrono::milliseconds limit);
  // Applies events until `event` is current or the end is reached.
  void run_to(std::int64_t event);

  // The task that runs until the current event. 0: there is none yet, or the end is reached.
  pid_t runner() const;
  // Whether it executes anything of its own before the event, at least the instruction by which the
  // event comes about.
  bool has_way() const;
  // Lets it execute until it comes to the event, whose effects step() applies then, or is about to
  // execute the instruction at one of the addresses `traps` (without the one where it stands: it is
  // a trap at once), or `interrupt` is set, or about `until`, if that comes first: it is at an
  // arbitrary instruction then. Needs has_way().
  Way advance(std::span<const std::uint64_t> traps, const std::atomic<bool>* interrupt = nullptr,
              std::optional<std::chrono::steady_clock::time_point> until = {});
  // Whether advance() came to the event.
  bool arrived() const { return arrived_; }
  // How often a task was waited for on its way.
  std::uint64_t stops() const { return stops_; }
  void count_stop() { ++stops_; }

  // Looks again at a trace that is still being recorded: goes on with the events that have come to
  // it since.
  void look_again();

  // Of a living task, by its recorded id. Its registers and memory may be read and written; it must
  // not be resumed. In a task with TaskState::in_call, registers are those of the call's entry.
  process::Tracee& tracee(pid_t tid) { return task(tid).tracee; }
  process::RemoteMemory& memory(pid_t tid) { return task(tid).memory; }
  // Id of the task's real process.
  pid_t real_process(pid_t tid) { return task(tid).pid; }
  // Whoever steps the runner, or has it come to a breakpoint, makes the kernel unblock SIGTRAP and
  // forget that it is ignored (fault_action.h). Both as the program has it again; step() does that
  // by itself.
  void put_back_trap();
  // Address of a `syscall` instruction in the task's memory.
  std::uint64_t call_site(pid_t tid) { return site(task(tid)); }
  const std::string& directory() const { return directory_; }
  // Descriptor of a shared object (O_RDWR), owned by the session.
  int object(std::uint32_t number) const;

private:
  struct Task {
    pid_t tid = 0; // recorded
    pid_t pid = 0; // of the real process
    process::Tracee tracee;
    process::RemoteMemory memory;
    // Address of a `syscall` instruction; 0: not known.
    std::uint64_t site = 0;
    // The program blocks SIGTRAP, or ignores it: with this action.
    bool blocks_trap = false;
    std::optional<FaultAction> ignored_trap = {};
  };

  using Deadline = std::optional<std::chrono::steady_clock::time_point>;

  // The order of events: replay_session.cc.
  Task& task(pid_t tid);
  TaskState& task_state(pid_t tid);
  [[noreturn]] void diverged(const std::string& what) const;
  void check_processor() const;
  void load();
  void note_trap(Task& task);
  bool apply(Deadline deadline);
  void set_extended_registers(process::Tracee& tracee, std::span<const std::byte> area);
  void set_after(Task& task, const user_regs_struct& before);
  void write_memory(Task& own, const std::vector<trace::EventData::Write>& writes);
  void visit_data(trace::ByteRange range,
                  const std::function<void(std::span<const std::byte>)>& sink);

  // The way of a task to its event: session_arrival.cc.
  struct Limits {
    Deadline deadline = {};
    std::span<const std::uint64_t> traps = {};
    const std::atomic<bool>* interrupt = nullptr;
  };
  Way reach(Task& task, const Limits& limits);
  Way run_with_traps(Task& task, const Limits& limits);
  Way run_to_stop(Task& task, const Limits& limits);
  std::optional<process::TraceeStop>
  await_stop(Task& task, const std::atomic<bool>* interrupt = nullptr, Deadline deadline = {});
  void compare_inputs(Task& task);
  void compare_output(Task& task);
  void compare_memory(Task& task);
  // The way to code that the program makes: session_made_code.cc.
  process::TraceeStop step_once(Task& task);
  bool is_changeable(Task& task, std::uint64_t address);
  void protect_code(Task& task, int protection);
  Way run_to_changeable_code(Task& task, const Limits& limits);
  Way run_to_unseen_code(Task& task, const Limits& limits);

  // System calls: session_calls.cc.
  void echo(Task& task);
  void finish_call(Task& task);
  void perform(Task& task, const user_regs_struct& entry);
  void attach(Task& task, const user_regs_struct& entry);
  void detach(Task& task, const trace::SystemCall& call);
  void move(Task& task, const trace::SystemCall& call);
  void advise(Task& task, const trace::SystemCall& call);
  void advise_list(Task& task, const trace::SystemCall& call);
  void set_stack_limit(Task& task, const trace::SystemCall& call);
  void set_personality(Task& task, const trace::SystemCall& call);
  void require_same(const trace::SystemCall& call, std::int64_t own) const;
  std::uint64_t site(Task& task);

  // Mappings and shared objects: session_mappings.cc.
  void map(Task& task, const user_regs_struct& entry);
  struct Wanted { // arguments of mmap(2)
    std::uint64_t address = 0;
    std::uint64_t length = 0;
    std::uint64_t protection = 0;
    std::uint64_t flags = 0;
    std::uint64_t offset = 0;
  };
  void map_object(Task& task, std::uint64_t stack, const Wanted& wanted, int fd, bool writable);
  void follow_objects();
  void write_shared();
  int own_object(std::uint32_t number);

  // Tasks that come, execute another program and go: session_tasks.cc.
  void make_task(Task& parent);
  void execute();
  void end_task(pid_t tid);
  void kill_process(pid_t recorded);

  std::string directory_;
  ReplayOptions options_;
  TraceReader trace_;
  ProcessorBinding binding_;
  const process::restore::XsaveLayout recorded_layout_;
  const process::restore::XsaveLayout own_layout_ = process::restore::own_xsave_layout();
  bool same_layout_ = false;
  std::optional<bool> breakpoints_; // whether they fire, once that was tried
  EventReader events_;
  SupervisorState state_;
  trace::EventData current_;
  std::map<pid_t, std::unique_ptr<Task>> tasks_;
  std::map<std::uint32_t, ScopedFd> objects_;
  std::map<std::string, ScopedFd> files_; // of the trace, by name
  std::vector<std::byte> buffer_;
  RangeDigest digest_;
  TaskWaiter waiter_;
  std::uint64_t event_before_at_ = 0; // EventData::time of the event before the current one
  std::uint64_t comparisons_ = 0;
  bool arrived_ = false; // at the current event
  // Of processor time, by the task on its way to the current event, as far as it was interrupted.
  std::chrono::nanoseconds used_before_{};
  // By real process and page: whether the page is writable and executable at once. Forgotten
  // whenever mappings change.
  std::map<std::pair<pid_t, std::uint64_t>, bool> changeable_;
  std::pair<std::uint64_t, std::uint64_t> guarded_{}; // addresses of code that must not be written
  bool wrote_code_ = false;                           // the program is about to write there
  std::uint64_t stops_ = 0;
};

} // namespace rrpcp::replay
