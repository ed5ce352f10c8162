#include "replay/engine/replay_session.h"

#include "model/backing_file.h"
#include "process/proc_maps.h"
#include "process/remote_calls.h"
#include "process/restore/memory_objects.h"
#include "process/restore/obstacles.h"
#include "process/restore/process_builder.h"
#include "process/restore/process_plan.h"
#include "process/restore/xsave_area.h"
#include "replay/engine/fault_action.h"
#include "replay/engine/injected_calls.h"
#include "replay/engine/register_compare.h"
#include "replay/engine/system_call_names.h"
#include "replay/engine/trapped_instructions.h"
#include "rrpcp/error.h"
#include "rrpcp/reader.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace rrpcp::replay {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kNoteXstate = 0x202; // NT_X86_XSTATE
// Bytes of an event's data that are held in memory; of one with more, pieces while it is applied.
constexpr std::uint64_t kMostHeld = 1 << 20;
// linux/mman.h, newer than some headers
constexpr std::uint64_t kGuardInstall = 102;
constexpr std::uint64_t kGuardRemove = 103;
constexpr std::uint64_t kMapFixedNoReplace = 0x100000;
// asm/prctl.h
constexpr std::uint64_t kArchReqXcompPerm = 0x1023;

bool has_lasting_effect(std::uint64_t advice) {
  switch (advice) {
  case MADV_DONTNEED:
  case MADV_FREE: // carried out as MADV_DONTNEED while recording
  case MADV_REMOVE:
  case MADV_DONTFORK:
  case MADV_DOFORK:
  case MADV_WIPEONFORK:
  case MADV_KEEPONFORK:
  case kGuardInstall:
  case kGuardRemove:
    return true;
  default:
    return false;
  }
}

std::string_view text_of(capnp::Data::Reader bytes) {
  return {reinterpret_cast<const char*>(bytes.begin()), bytes.size()};
}

bool ends_in_fault(const EventData& event) {
  return event.kind == EventKind::kTrap || event.kind == EventKind::kExit ||
         (event.kind == EventKind::kSignal && event.cause == schema::SignalCause::FAULT);
}

user_regs_struct at_user(user_regs_struct registers) {
  registers.orig_rax = ~std::uint64_t{0}; // the kernel must not restart anything
  return registers;
}

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
      binding_(trace_.start().getProcessor()), events_(trace_.events(state.event)),
      state_(std::move(state)), objects_(std::move(objects)) {
  check_processor();
  for (AdoptedTask& adopted : tasks) {
    auto made = std::make_unique<Task>(
        Task{adopted.tid, adopted.pid, std::move(adopted.tracee), RemoteMemory(0)});
    made->memory = RemoteMemory(made->tracee.tid());
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
      restore::missing_instruction_sets(trace_.start().getCpu());
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
                                          std::string(event_kind_name(current_.kind)) + "), task " +
                                          std::to_string(current_.task) + ": " + what)
      .in_file(directory_);
}

void ReplaySession::step() {
  apply(std::nullopt);
}

bool ReplaySession::step_within(std::chrono::milliseconds limit) {
  return apply(Clock::now() + limit);
}

void ReplaySession::run_to(std::int64_t event) {
  while (!at_end() && state_.event < event) {
    step();
  }
}

// Lets the task run to an event that an instruction's fault is. Where the recording's processor
// trapped the instruction by arrangement, this one need not: `ud2` takes its place meanwhile.
bool ReplaySession::reach_fault(Task& task, std::optional<Clock::time_point> deadline) {
  const std::uint64_t address = current_.registers->rip;
  std::array<std::byte, kLongestInstruction> code{};
  const std::size_t length = task.memory.read_some(address, code);
  if (!decode_trapped(std::span(code).first(length))) {
    return reach(task, deadline);
  }
  task.memory.write(address, kUndefinedInstruction);
  const bool reached = reach(task, deadline);
  task.memory.write(address, std::span(code).first(kUndefinedInstruction.size()));
  return reached;
}

// Lets the task run to the event and compares. False where it did not get there in time.
bool ReplaySession::reach(Task& task, std::optional<Clock::time_point> deadline) {
  task.tracee.resume(PTRACE_SYSEMU);
  for (;;) {
    TraceeStop stop;
    if (deadline) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
          std::max(*deadline - Clock::now(), Clock::duration::zero()));
      std::optional<TraceeStop> in_time = task.tracee.wait_for(left);
      if (!in_time) {
        task.tracee.interrupt();
        in_time = task.tracee.wait();
        if (in_time->event_stop()) {
          return false;
        }
      }
      stop = *in_time;
    } else {
      stop = task.tracee.wait();
    }
    if (stop.gone()) {
      throw Error(ErrorCode::kProcessGone, "a replayed process was killed by somebody at event " +
                                               std::to_string(state_.event) + ", task " +
                                               std::to_string(current_.task));
    }
    const bool wants_fault = ends_in_fault(current_);
    if (stop.syscall_stop()) {
      const user_regs_struct registers = task.tracee.registers();
      task.site = registers.rip - kSyscallLength;
      if (wants_fault) {
        diverged("it made the system call " +
                 system_call_name(static_cast<long>(registers.orig_rax)));
      }
      if (std::optional<std::string> difference =
              first_difference(registers, *current_.registers)) {
        const auto recorded = static_cast<long>(current_.registers->orig_rax);
        diverged("at the entry of " + system_call_name(static_cast<long>(registers.orig_rax)) +
                 (registers.orig_rax != current_.registers->orig_rax
                      ? " (recorded: " + system_call_name(recorded) + ")"
                      : "") +
                 ", " + *difference);
      }
      return true;
    }
    if (const int signal = stop.signal(); signal != 0) {
      const siginfo_t info = task.tracee.signal_info();
      const bool fault =
          info.si_code > 0 && (signal == SIGSEGV || signal == SIGBUS || signal == SIGILL ||
                               signal == SIGFPE || signal == SIGTRAP);
      if (fault) {
        const user_regs_struct registers = task.tracee.registers();
        if (!wants_fault) {
          char address[32];
          std::snprintf(address, sizeof address, "0x%llx", registers.rip);
          diverged("signal " + std::to_string(signal) + " at address " + address);
        }
        if (std::optional<std::string> difference =
                first_difference(registers, *current_.registers)) {
          diverged("at a fault (signal " + std::to_string(signal) + "), " + *difference);
        }
        return true;
      }
    }
    // Somebody's signal: nothing of the recording.
    task.tracee.resume(PTRACE_SYSEMU);
  }
}

bool ReplaySession::apply(std::optional<Clock::time_point> deadline) {
  if (at_end()) {
    return true;
  }
  const bool first = state_.tasks.empty() && current_.kind == EventKind::kExec;
  const pid_t runner = current_.former_task != 0 ? current_.former_task : current_.task;
  std::optional<FaultAction> fault;
  if (current_.kind == EventKind::kTrap && current_.signal_mask) {
    // SIGILL may be blocked or ignored: the fault would make the kernel forget its action.
    Task& faulting = task(runner);
    fault = fault_action(faulting.tracee, faulting.memory, site(faulting), SIGILL);
  }
  if (!first && current_.registers) {
    Task& running = task(runner);
    if (!(ends_in_fault(current_) ? reach_fault(running, deadline) : reach(running, deadline))) {
      return false;
    }
  }
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
  switch (current_.kind) {
  case EventKind::kSystemCall:
  case EventKind::kSystemCallFinished:
    finish_call(task(current_.task));
    break;
  case EventKind::kSystemCallBegun:
    task_state(current_.task).in_call = true;
    break;
  case EventKind::kExec:
    execute();
    break;
  case EventKind::kNewTask:
    make_task(task(current_.task));
    break;
  case EventKind::kExit:
    end_task(current_.task);
    break;
  case EventKind::kSignal: {
    const std::span<const std::byte> info = current_.bytes(current_.signal_info);
    if (info.size() == state_.last_signal.size()) {
      std::copy(info.begin(), info.end(), state_.last_signal.begin());
    }
    set_after(task(current_.task), {});
    break;
  }
  case EventKind::kTrap: {
    Task& trapped = task(current_.task);
    set_after(trapped, {});
    if (fault) {
      set_fault_action(trapped.tracee, trapped.memory, site(trapped), SIGILL, *fault);
    }
    break;
  }
  case EventKind::kPreemption:
    set_after(task(current_.task), {});
    break;
  }
  ++state_.event;
  events_.next();
  load();
  return true;
}

// Gives the task what it has after the event.
void ReplaySession::set_after(Task& task, const user_regs_struct& before) {
  write_memory(task, current_.memory);
  if (current_.extended_registers.length != 0) {
    task.tracee.set_register_set(kNoteXstate, current_.bytes(current_.extended_registers));
  }
  if (current_.signal_mask) {
    task.tracee.set_signal_mask(*current_.signal_mask);
  }
  if (current_.registers_after) {
    task.tracee.set_registers(at_user(*current_.registers_after));
  } else {
    user_regs_struct after = before;
    after.rax = static_cast<std::uint64_t>(current_.result);
    task.tracee.set_registers(at_user(after));
  }
}

void ReplaySession::write_memory(Task& task, const std::vector<EventData::Write>& writes) {
  for (const EventData::Write& write : writes) {
    std::uint64_t address = write.address;
    visit_data(write.data, [&](std::span<const std::byte> bytes) {
      task.memory.write(address, bytes);
      address += bytes.size();
    });
    state_.bytes_written += write.data.length;
  }
}

// The bytes of a write of the current event, in pieces.
void ReplaySession::visit_data(ByteRange range,
                               const std::function<void(std::span<const std::byte>)>& sink) {
  if (current_.data_elsewhere()) {
    events_.data(range.offset, range.length, sink);
  } else {
    sink(current_.bytes(range));
  }
}

int ReplaySession::object(std::uint32_t number) const {
  auto found = objects_.find(number);
  if (found == objects_.end()) {
    throw Error(ErrorCode::kInvalidArgument, "there is no shared object " + std::to_string(number));
  }
  return found->second.get();
}

int ReplaySession::own_object(std::uint32_t number) {
  ScopedFd& object = objects_[number];
  if (!object) {
    object.reset(::memfd_create(("pcp-rr:" + std::to_string(number)).c_str(), MFD_CLOEXEC));
    if (!object) {
      throw system_error(errno, "cannot create a memory file");
    }
    state_.objects.push_back({number, 0, {}});
  }
  return object.get();
}

void ReplaySession::write_shared() {
  for (const EventData::Shared& write : current_.shared) {
    const int fd = own_object(write.object);
    ObjectState* state = state_.find_object(write.object);
    if (state->size != write.size) {
      if (::ftruncate(fd, static_cast<off_t>(write.size)) != 0) {
        throw system_error(errno, "cannot resize a shared object");
      }
      state->size = write.size;
    }
    std::uint64_t offset = write.offset;
    visit_data(write.data, [&](std::span<const std::byte> bytes) {
      while (!bytes.empty()) {
        const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (n < 0 && errno == EINTR) {
          continue;
        }
        if (n <= 0) {
          throw system_error(errno, "cannot write a shared object");
        }
        bytes = bytes.subspan(static_cast<std::size_t>(n));
        offset += static_cast<std::uint64_t>(n);
      }
    });
    state_.bytes_written += write.data.length;
  }
}

void ReplaySession::echo(Task& task) {
  if (current_.output == 0 || !options_.output) {
    return;
  }
  for (const EventData::Range& range : current_.output_ranges) {
    constexpr std::uint64_t kPiece = 1 << 20;
    for (std::uint64_t done = 0; done < range.length; done += kPiece) {
      buffer_.resize(std::min(kPiece, range.length - done));
      task.memory.read(range.address + done, buffer_);
      options_.output(current_.output, buffer_);
    }
  }
}

void ReplaySession::finish_call(Task& task) {
  const user_regs_struct entry = current_.registers ? *current_.registers : task.tracee.registers();
  task_state(current_.task).in_call = false;
  ++state_.system_calls;
  echo(task);
  perform(task, entry);
  set_after(task, entry);
}

// What the kernel has to do itself for its view of the process to be right.
void ReplaySession::perform(Task& task, const user_regs_struct& entry) {
  const SystemCall call(entry);
  const std::int64_t result = current_.result;
  if (result < 0 && result >= -4095) {
    return;
  }
  auto same = [&](bool compare) {
    InjectedCalls calls(task.tracee, site(task));
    const std::int64_t own = calls.call_with(call.number, call.arguments);
    if (compare && own != result) {
      diverged(system_call_name(call.number) + " returned " + std::to_string(own) +
               " and had returned " + std::to_string(result));
    }
  };
  switch (call.number) {
  case SYS_mmap:
    map(task, entry);
    return;
  case SYS_shmat: {
    if (current_.mapping && current_.mapping->object) {
      constexpr std::uint64_t kReadOnly = 010000; // SHM_RDONLY
      const bool writable = (call[2] & kReadOnly) == 0;
      map_object(task, entry, static_cast<std::uint64_t>(result), current_.mapping->length,
                 writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED | MAP_FIXED,
                 own_object(*current_.mapping->object), writable);
    }
    return;
  }
  case SYS_shmdt:
    for (const ProcMapping& mapping : read_mappings(task.tracee.tid())) {
      if (mapping.start == call[0]) {
        InjectedCalls calls(task.tracee, site(task));
        calls.require("unmapping", SYS_munmap, mapping.start, mapping.length());
        return;
      }
    }
    return;
  case SYS_munmap:
  case SYS_mprotect:
  case SYS_pkey_alloc:
  case SYS_pkey_free:
  case SYS_pkey_mprotect:
  case SYS_rt_sigaction:
  case SYS_sigaltstack:
  case SYS_set_robust_list:
    same(true);
    return;
  case SYS_set_tid_address:
    same(false);
    return;
  case SYS_madvise:
    if (has_lasting_effect(call[2])) {
      InjectedCalls calls(task.tracee, site(task));
      calls.call(SYS_madvise, call[0], call[1], call[2] == MADV_FREE ? MADV_DONTNEED : call[2]);
    }
    return;
  case SYS_brk:
    if (call[0] != 0 && static_cast<std::uint64_t>(result) == call[0]) {
      same(true);
    }
    return;
  case SYS_mremap: {
    InjectedCalls calls(task.tracee, site(task));
    std::int64_t own = 0;
    if (static_cast<std::uint64_t>(result) == call[0]) {
      own = calls.call(SYS_mremap, call[0], call[1], call[2], 0, 0);
    } else {
      own = calls.call(SYS_mremap, call[0], call[1], call[2],
                       (call[3] & MREMAP_DONTUNMAP) | MREMAP_MAYMOVE | MREMAP_FIXED, result);
    }
    if (own != result) {
      diverged("mremap returned " + std::to_string(own) + " and had returned " +
               std::to_string(result));
    }
    return;
  }
  case SYS_arch_prctl:
    if (call[0] == kArchReqXcompPerm) {
      same(true);
    }
    return;
  case SYS_prctl:
    if (call[0] == PR_SET_NAME) {
      same(true);
    }
    return;
  case SYS_setrlimit:
  case SYS_prlimit64: {
    // How far the stack grows is the kernel's own business.
    const bool by_pid = call.number == SYS_prlimit64;
    const std::uint64_t resource = by_pid ? call[1] : call[0];
    const std::uint64_t address = by_pid ? call[2] : call[1];
    if (resource == RLIMIT_STACK && address != 0 &&
        (!by_pid || call[0] == 0 || static_cast<pid_t>(call[0]) == task_state(current_.task).pid)) {
      rlimit limit = task.memory.read_value<rlimit>(address);
      rlimit own{};
      if (::prlimit(task.pid, RLIMIT_STACK, nullptr, &own) == 0) {
        limit.rlim_max = own.rlim_max;
        limit.rlim_cur = std::min(limit.rlim_cur, own.rlim_max);
        ::prlimit(task.pid, RLIMIT_STACK, &limit, nullptr);
      }
    }
    return;
  }
  default:
    return;
  }
}

std::uint64_t ReplaySession::site(Task& task) {
  if (task.site == 0) {
    const std::optional<std::uint64_t> found =
        find_syscall_instruction(task.tracee.tid(), read_mappings(task.tracee.tid()));
    if (!found) {
      throw Error(ErrorCode::kInternal, "the program has no system-call instruction");
    }
    task.site = *found;
  }
  return task.site;
}

void ReplaySession::map(Task& task, const user_regs_struct& entry) {
  const SystemCall call(entry);
  constexpr std::uint64_t kDropped = MAP_POPULATE | MAP_LOCKED | MAP_HUGETLB | MAP_32BIT |
                                     kMapFixedNoReplace | MAP_SYNC | (std::uint64_t{63} << 26);
  const auto address = static_cast<std::uint64_t>(current_.result);
  std::uint64_t flags = (call[3] & ~(kDropped | MAP_TYPE)) | MAP_FIXED;
  const bool shared = (call[3] & MAP_TYPE) != MAP_PRIVATE;
  flags |= shared ? MAP_SHARED : MAP_PRIVATE;
  if (!current_.mapping) {
    InjectedCalls calls(task.tracee, site(task));
    calls.require("mapping memory", SYS_mmap, address, call[1], call[2], flags | MAP_ANONYMOUS,
                  ~std::uint64_t{0}, 0);
    return;
  }
  if (current_.mapping->object) {
    ObjectState* state = nullptr;
    const int fd = own_object(*current_.mapping->object);
    state = state_.find_object(*current_.mapping->object);
    state->path = current_.mapping->path;
    map_object(task, entry, address, call[1], call[2], flags, fd, true);
    return;
  }
  const std::string& name = current_.mapping->file;
  ScopedFd& file = files_[name];
  if (!file) {
    const std::string path = directory_ + "/" + name;
    file.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) {
      throw Error(ErrorCode::kBackingFile, "cannot open a file that the trace keeps")
          .with_errno(errno)
          .in_file(path);
    }
    for (schema::TraceFile::Reader kept : trace_.files()) {
      if (text_of(kept.getStored().getPath()) == name) {
        verify_identity(file.get(), path, kept.getStored());
      }
    }
  }
  map_object(task, entry, address, call[1], call[2], flags, file.get(), false);
}

// Maps our descriptor `fd` in the task, which opens it by way of /proc.
void ReplaySession::map_object(Task& task, const user_regs_struct& entry, std::uint64_t address,
                               std::uint64_t length, std::uint64_t protection, std::uint64_t flags,
                               int fd, bool writable) {
  // The path lies at the start of the page of the stack pointer for a moment.
  const std::string path = "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(fd);
  const std::uint64_t page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t place = entry.rsp & ~(page - 1);
  std::vector<std::byte> before(path.size() + 1);
  task.memory.read(place, before);
  task.memory.write(place, std::as_bytes(std::span(path.c_str(), path.size() + 1)));
  InjectedCalls calls(task.tracee, site(task));
  const std::int64_t opened =
      calls.call(SYS_openat, AT_FDCWD, place, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC, 0);
  task.memory.write(place, before);
  calls.check("opening a mapped file", opened);
  const std::uint64_t offset = current_.mapping ? current_.mapping->offset : 0;
  const std::int64_t mapped =
      calls.call(SYS_mmap, address, length, protection, flags, opened, offset);
  calls.require("closing a mapped file", SYS_close, opened);
  calls.check("mapping a file", mapped);
}

void ReplaySession::make_task(Task& parent) {
  const user_regs_struct entry =
      current_.registers ? *current_.registers : parent.tracee.registers();
  const SystemCall call(entry);
  const pid_t parent_process = task_state(current_.task).pid;
  const bool thread = (current_.flags & CLONE_THREAD) != 0;
  constexpr std::uint64_t kKept = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                                  CLONE_SYSVSEM | CLONE_CHILD_CLEARTID;
  std::uint64_t flags = current_.flags & kKept;
  if (!thread) {
    flags |= CLONE_PARENT | SIGCHLD; // a child of ours
  }
  std::uint64_t clear_tid = 0;
  if ((flags & CLONE_CHILD_CLEARTID) != 0) {
    constexpr std::uint64_t kChildTidOffset = 16; // in struct clone_args
    clear_tid = call.number == SYS_clone3
                    ? parent.memory.read_value<std::uint64_t>(call[0] + kChildTidOffset)
                    : call[3];
  }
  InjectedCalls calls(parent.tracee, site(parent));
  const auto real =
      static_cast<pid_t>(calls.require("making a task", SYS_clone, flags, 0, 0, clear_tid, 0));
  Tracee tracee = Tracee::adopt(calls.new_task().value_or(real), false);
  tracee.wait_stop();
  parent.tracee.set_registers(entry); // it is in its call still
  tracee.set_registers(at_user(current_.child_registers));
  auto made = std::make_unique<Task>(
      Task{current_.child, thread ? parent.pid : real, std::move(tracee), RemoteMemory(real)});
  made->site = parent.site;
  TaskState state;
  state.tid = current_.child;
  state.pid = current_.child_process;
  state.serial = state_.next_serial++;
  state_.tasks.push_back(state);
  if (!thread) {
    ProcessState process;
    process.pid = current_.child_process;
    process.parent = parent_process;
    process.serial = state_.next_serial++;
    process.space_event = state_.event;
    process.shares_memory_of = (current_.flags & CLONE_VM) != 0 ? parent_process : 0;
    process.executable = state_.find_process(parent_process)->executable;
    state_.processes.push_back(process);
  }
  write_memory(*made, current_.child_memory);
  tasks_[current_.child] = std::move(made);
  write_memory(parent, current_.memory);
  task_state(current_.task).in_call = true;
}

void ReplaySession::execute() {
  const pid_t pid = current_.task;
  TaskState state;
  state.tid = pid;
  state.pid = pid;
  ProcessState process;
  process.pid = pid;
  if (TaskState* before =
          state_.find_task(current_.former_task != 0 ? current_.former_task : current_.task)) {
    state = *before;
    state.tid = pid;
    process = *state_.find_process(pid);
    kill_process(pid);
    std::erase_if(state_.tasks, [&](const TaskState& other) { return other.pid == pid; });
    std::erase_if(state_.processes, [&](const ProcessState& other) { return other.pid == pid; });
  } else {
    state.serial = state_.next_serial++;
    process.serial = state_.next_serial++;
  }
  const CheckpointReader image = CheckpointReader::open(directory_ + "/" + current_.image);
  RestoreOptions options;
  options.files.trace_directory = directory_;
  options.eager = true;
  options.threads = 1;
  restore::Obstacles obstacles(options.allow, image.name());
  restore::MemoryObjects objects(image, options, obstacles);
  const restore::ProcessParts parts{false, false, true, false, false};
  restore::ProcessPlan plan(image, 0, objects, nullptr, options, parts, false, obstacles);
  obstacles.throw_if_any();
  objects.acquire(obstacles);
  obstacles.throw_if_any();
  restore::BuildOptions build;
  build.trace_options = kTaskTraceOptions;
  build.threads = 1;
  restore::BuiltProcess built = restore::build_process(plan, objects.contents(), image, build);
  const pid_t real = built.pid();
  for (schema::ResourceLimit::Reader limit : plan.process().getResourceLimits()) {
    if (limit.getResource() == RLIMIT_STACK) {
      rlimit own{};
      ::prlimit(real, RLIMIT_STACK, nullptr, &own);
      own.rlim_cur = std::min<rlim_t>(limit.getSoft(), own.rlim_max);
      ::prlimit(real, RLIMIT_STACK, &own, nullptr);
    }
  }
  std::vector<restore::BuiltTask> tasks = built.release();
  tasks_[pid] =
      std::make_unique<Task>(Task{pid, real, std::move(tasks.front().tracee), RemoteMemory(real)});
  state.in_call = false;
  process.space_event = state_.event;
  process.shares_memory_of = 0;
  process.executable = current_.executable;
  state_.tasks.push_back(state);
  state_.processes.push_back(process);
}

void ReplaySession::end_task(pid_t tid) {
  const TaskState ended = task_state(tid);
  const bool last =
      std::none_of(state_.tasks.begin(), state_.tasks.end(), [&](const TaskState& other) {
        return other.pid == ended.pid && other.tid != tid;
      });
  if (last) {
    kill_process(ended.pid);
    if (!state_.processes.empty() && state_.processes.front().pid == ended.pid &&
        state_.processes.front().parent == 0) {
      state_.ended = true;
      state_.status = current_.status;
    }
    std::erase_if(state_.processes,
                  [&](const ProcessState& process) { return process.pid == ended.pid; });
  } else {
    Task& task = *tasks_.at(tid);
    user_regs_struct registers = at_user(task.tracee.registers());
    registers.rip = site(task);
    registers.rax = SYS_exit;
    registers.rdi = 0;
    task.tracee.set_registers(registers);
    // Nobody is told of the end of the real process's leader before that of its threads; it ends
    // when it is let go. After a restore it need not be the task that led while recording.
    if (task.tracee.tid() != task.pid) {
      task.tracee.resume(PTRACE_CONT);
      while (!task.tracee.wait().gone()) {
        task.tracee.resume(PTRACE_CONT);
      }
    }
    tasks_.erase(tid);
  }
  std::erase_if(state_.tasks, [&](const TaskState& task) { return task.tid == tid; });
  for (auto& [other, task] : tasks_) {
    if (state_.find_task(other)->pid == ended.pid) {
      write_memory(*task, current_.memory);
      break;
    }
  }
}

// Ends the real process with all its tasks.
void ReplaySession::kill_process(pid_t recorded) {
  std::vector<pid_t> members;
  for (const TaskState& state : state_.tasks) {
    if (state.pid == recorded && tasks_.count(state.tid) != 0) {
      members.push_back(state.tid);
    }
  }
  if (members.empty()) {
    return;
  }
  const pid_t real = tasks_.at(members.front())->pid;
  ::kill(real, SIGKILL);
  // The leader last: it is reported only after the others.
  std::stable_partition(members.begin(), members.end(),
                        [&](pid_t tid) { return tasks_.at(tid)->tracee.tid() != real; });
  for (pid_t tid : members) {
    Tracee& tracee = tasks_.at(tid)->tracee;
    try {
      while (tracee.attached() && !tracee.wait().gone()) {
      }
    } catch (const Error&) {
      // Gone already.
    }
    tracee.release();
    tasks_.erase(tid);
  }
}

} // namespace rrpcp::replay
