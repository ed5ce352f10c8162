#include "replay/engine/replay_session.h"

#include "process/proc_status.h"
#include "process/restore/xsave_area.h"
#include "replay/engine/fault_action.h"
#include "replay/engine/host_trials.h"
#include "rrpcp/error.h"
#include "trace/call_table.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <elf.h>
#include <sys/ptrace.h>
#include <utility>

namespace rrpcp::replay {

namespace {

using Clock = std::chrono::steady_clock;

// Bytes of an event's data that are held in memory; of one with more, pieces while it is applied.
constexpr std::uint64_t kMostHeld = 1 << 20;
constexpr std::uint64_t kTrapBit = std::uint64_t{1} << (SIGTRAP - 1);

} // namespace

const std::uintptr_t kTaskTraceOptions = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE |
                                         PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                                         PTRACE_O_EXITKILL;

ReplaySession::ReplaySession(const std::string& directory, ReplayOptions options)
    : ReplaySession(directory, std::move(options), SupervisorState(), {}, {}) {}

ReplaySession::ReplaySession(const std::string& directory, ReplayOptions options,
                             SupervisorState state, std::vector<AdoptedTask> tasks,
                             std::map<std::uint32_t, ScopedFd> objects)
    : directory_(directory), options_(std::move(options)), trace_(TraceReader::open(directory)),
      binding_(trace_.start().getProcessor()),
      recorded_layout_(process::restore::stored_xsave_layout(trace_.start().getCpu())),
      events_(trace_.events(state.event)), state_(std::move(state)), objects_(std::move(objects)) {
  if (!options_.machine_tried) {
    require_tracing();
  }
  check_processor();
  same_layout_ = process::restore::same_components(recorded_layout_, own_layout_);
  for (AdoptedTask& adopted : tasks) {
    auto made = std::make_unique<Task>(
        Task{adopted.tid, adopted.pid, std::move(adopted.tracee), process::RemoteMemory(0)});
    made->memory = process::RemoteMemory(made->tracee.tid());
    made->site = adopted.site;
    note_trap(*made);
    tasks_.emplace(adopted.tid, std::move(made));
  }
  load();
}

ReplaySession::~ReplaySession() {
  while (!tasks_.empty()) {
    try {
      kill_process(task_state(tasks_.begin()->first).pid);
    } catch (const std::exception&) {
      tasks_.begin()->second->tracee.release();
      tasks_.erase(tasks_.begin());
    }
  }
}

void ReplaySession::check_processor() const {
  const std::vector<std::string> missing =
      process::restore::missing_instruction_sets(trace_.start().getCpu());
  if (missing.empty()) {
    return;
  }
  std::string list;
  for (const std::string& name : missing) {
    list += (list.empty() ? "" : ", ") + name;
  }
  throw Error(ErrorCode::kUnsupportedState,
              "this processor lacks instructions that the recorded program may have used: " + list)
      .in_file(directory_)
      .with_hint("replay it on a machine like the one that recorded it");
}

void ReplaySession::load() {
  used_before_ = {};
  if (events_.at_end()) {
    return;
  }
  const std::span<std::byte> room =
      current_.decode(events_.event(), events_.data_length(), kMostHeld);
  if (!room.empty()) {
    events_.read_data(0, room);
  }
}

ReplaySession::Task& ReplaySession::task(pid_t tid) {
  auto found = tasks_.find(tid);
  if (found == tasks_.end()) {
    throw Error(ErrorCode::kDamaged, "event " + std::to_string(state_.event) + " is of task " +
                                         std::to_string(tid) + ", which does not exist")
        .in_file(trace_.stream_name());
  }
  return *found->second;
}

TaskState& ReplaySession::task_state(pid_t tid) {
  TaskState* found = state_.find_task(tid);
  if (found == nullptr) {
    throw Error(ErrorCode::kDamaged, "event " + std::to_string(state_.event) + " is of task " +
                                         std::to_string(tid) + ", which does not exist")
        .in_file(trace_.stream_name());
  }
  return *found;
}

void ReplaySession::diverged(const std::string& what) const {
  throw Error(ErrorCode::kDivergence, "the replay differs from the recording at event " +
                                          std::to_string(state_.event) + " (" +
                                          std::string(trace::event_kind_name(current_.kind)) +
                                          "), task " + std::to_string(current_.task) + ": " + what)
      .in_file(directory_)
      .with_hint("the events before it are as recorded; to find where the difference began, record "
                 "again with --checksum and replay with --verify");
}

void ReplaySession::step() {
  apply(std::nullopt);
}

bool ReplaySession::step_within(std::chrono::milliseconds limit) {
  return apply(Clock::now() + limit);
}

void ReplaySession::look_again() {
  trace_ = TraceReader::open(directory_);
  events_ = trace_.events(state_.event);
  load();
}

pid_t ReplaySession::runner() const {
  if (at_end() || (state_.tasks.empty() && current_.kind == trace::EventKind::kExec)) {
    return 0;
  }
  return current_.former_task != 0 ? current_.former_task : current_.task;
}

bool ReplaySession::has_way() const {
  const TaskState* state = state_.find_task(runner());
  return state != nullptr && !state->in_call && current_.registers &&
         current_.kind != trace::EventKind::kPreemption;
}

Way ReplaySession::advance(std::span<const std::uint64_t> traps, const std::atomic<bool>* interrupt,
                           Deadline until) {
  if (arrived_) {
    return Way::kArrived;
  }
  const Way way = reach(task(runner()), {until, traps, interrupt});
  arrived_ = way == Way::kArrived;
  return way;
}

void ReplaySession::run_to(std::int64_t event) {
  while (!at_end() && state_.event < event) {
    step();
  }
}

// Of a task that has come from elsewhere, or has set the action.
void ReplaySession::note_trap(Task& task) {
  const process::ProcStatus status = process::ProcStatus::read(task.pid, task.tracee.tid());
  task.blocks_trap = (task.tracee.signal_mask() & kTrapBit) != 0;
  task.ignored_trap.reset();
  if ((status.ignored & kTrapBit) != 0) {
    task.ignored_trap = fault_action(task.tracee, task.memory, site(task), SIGTRAP);
  }
}

void ReplaySession::put_back_trap() {
  const auto found = tasks_.find(runner());
  if (found == tasks_.end()) {
    return;
  }
  Task& task = *found->second;
  if (task.blocks_trap) {
    const std::uint64_t mask = task.tracee.signal_mask();
    if ((mask & kTrapBit) == 0) {
      task.tracee.set_signal_mask(mask | kTrapBit);
    }
  }
  if (task.ignored_trap &&
      (process::ProcStatus::read(task.pid, task.tracee.tid()).ignored & kTrapBit) == 0) {
    const user_regs_struct registers = task.tracee.registers();
    set_fault_action(task.tracee, task.memory, site(task), SIGTRAP, *task.ignored_trap);
    task.tracee.set_registers(registers); // the number of a call too
  }
}

bool ReplaySession::apply(Deadline deadline) {
  if (at_end()) {
    return true;
  }
  put_back_trap();
  const bool first = state_.tasks.empty() && current_.kind == trace::EventKind::kExec;
  const pid_t runner = current_.former_task != 0 ? current_.former_task : current_.task;
  std::optional<FaultAction> fault;
  if (current_.kind == trace::EventKind::kTrap && current_.signal_mask) {
    // SIGILL may be blocked or ignored: the fault would make the kernel forget its action.
    Task& faulting = task(runner);
    fault = fault_action(faulting.tracee, faulting.memory, site(faulting), SIGILL);
  }
  if (!first && current_.registers) {
    if (!arrived_ && reach(task(runner), {deadline, {}, nullptr}) != Way::kArrived) {
      return false;
    }
  }
  arrived_ = false;
  if (!first) {
    TaskState& state = task_state(runner);
    ++state.ticks;
    state.last_event = state_.event;
    if (state.first_run_event == 0) {
      state.first_run_event = state_.event;
    }
  }
  state_.last_task = current_.task;
  write_shared();
  follow_objects();
  switch (current_.kind) {
  case trace::EventKind::kSystemCall:
  case trace::EventKind::kSystemCallFinished:
    finish_call(task(current_.task));
    break;
  case trace::EventKind::kSystemCallBegun:
    task_state(current_.task).in_call = true;
    write_memory(task(current_.task), current_.memory);
    break;
  case trace::EventKind::kExec:
    execute();
    break;
  case trace::EventKind::kNewTask:
    make_task(task(current_.task));
    break;
  case trace::EventKind::kExit:
    end_task(current_.task);
    break;
  case trace::EventKind::kSignal: {
    const std::span<const std::byte> info = current_.bytes(current_.signal_info);
    if (info.size() == state_.last_signal.size()) {
      std::copy(info.begin(), info.end(), state_.last_signal.begin());
    }
    set_after(task(current_.task), {});
    break;
  }
  case trace::EventKind::kTrap: {
    Task& trapped = task(current_.task);
    set_after(trapped, {});
    if (fault) {
      set_fault_action(trapped.tracee, trapped.memory, site(trapped), SIGILL, *fault);
    }
    break;
  }
  case trace::EventKind::kPreemption:
    set_after(task(current_.task), {});
    break;
  }
  if (options_.verify && !current_.memory_digests.empty()) {
    compare_memory(task(current_.task));
  }
  ++state_.event;
  event_before_at_ = current_.time;
  events_.next();
  load();
  return true;
}

// The processor that recorded may have other registers, or have them elsewhere in its XSAVE area.
void ReplaySession::set_extended_registers(process::Tracee& tracee,
                                           std::span<const std::byte> area) {
  if (same_layout_) {
    tracee.set_register_set(NT_X86_XSTATE, area);
    return;
  }
  if (std::optional<std::vector<std::byte>> own = tracee.register_set(NT_X86_XSTATE)) {
    process::restore::convert_xsave_area(area, recorded_layout_, *own, own_layout_);
    tracee.set_register_set(NT_X86_XSTATE, *own);
  }
}

// Gives the task what it has after the event.
void ReplaySession::set_after(Task& task, const user_regs_struct& before) {
  write_memory(task, current_.memory);
  if (current_.extended_registers.length != 0) {
    set_extended_registers(task.tracee, current_.bytes(current_.extended_registers));
  }
  if (current_.signal_mask) {
    task.tracee.set_signal_mask(*current_.signal_mask);
    task.blocks_trap = (*current_.signal_mask & kTrapBit) != 0;
  }
  if (current_.registers_after) {
    task.tracee.set_registers(at_user(*current_.registers_after));
  } else {
    user_regs_struct after = before;
    after.rax = static_cast<std::uint64_t>(current_.result);
    task.tracee.set_registers(at_user(after));
  }
}

void ReplaySession::write_memory(Task& own, const std::vector<trace::EventData::Write>& writes) {
  for (const trace::EventData::Write& write : writes) {
    Task& target = write.task != 0 ? task(write.task) : own;
    std::uint64_t address = write.address;
    visit_data(write.data, [&](std::span<const std::byte> bytes) {
      target.memory.write(address, bytes);
      address += bytes.size();
    });
    state_.bytes_written += write.data.length;
  }
}

// The bytes of a write of the current event, in pieces.
void ReplaySession::visit_data(trace::ByteRange range,
                               const std::function<void(std::span<const std::byte>)>& sink) {
  if (current_.data_elsewhere()) {
    events_.data(range.offset, range.length, sink);
  } else {
    sink(current_.bytes(range));
  }
}

} // namespace rrpcp::replay
