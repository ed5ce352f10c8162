// Tasks that come, execute another program and go.

#include "base/scoped_fd.h"
#include "process/proc_file.h"
#include "process/proc_maps.h"
#include "process/proc_stat.h"
#include "process/proc_status.h"
#include "replay/engine/fault_action.h"
#include "replay/engine/process_image.h"
#include "replay/engine/recorder.h"
#include "replay/engine/suspended_filters.h"
#include "rrpcp/error.h"
#include "trace/event.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <elf.h>
#include <fcntl.h>
#include <optional>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace rrpcp::replay {

namespace {

using State = RecordedTask::State;

constexpr std::uint64_t kCloneClearHandlers = 0x100000000; // CLONE_CLEAR_SIGHAND

// struct clone_args of clone3(2).
struct CloneArguments {
  std::uint64_t flags = 0;
  std::uint64_t pidfd = 0;
  std::uint64_t child_tid = 0;
  std::uint64_t parent_tid = 0;
};

} // namespace

void Recorder::on_new_task(RecordedTask& task) {
  const auto tid = static_cast<pid_t>(task.tracee.event_message());
  CloneArguments arguments;
  switch (task.call.number) {
  case SYS_clone3:
    arguments = task.memory.read_value<CloneArguments>(task.call[0]);
    break;
  case SYS_clone:
    arguments.flags = task.call[0] & ~std::uint64_t{0xff};
    arguments.parent_tid = task.call[2];
    arguments.pidfd = task.call[2];
    arguments.child_tid = task.call[3];
    break;
  case SYS_vfork:
    arguments.flags = CLONE_VM | CLONE_VFORK;
    break;
  default:
    break;
  }
  const bool thread = (arguments.flags & CLONE_THREAD) != 0;
  RecordedTask& child = scheduler_.add(std::make_unique<RecordedTask>(
      tid, thread ? task.pid : tid, process::Tracee::adopt(tid, false)));
  const bool sibling = thread || (arguments.flags & CLONE_PARENT) != 0;
  child.parent = sibling ? task.parent : task.tid;
  child.parent_process = sibling ? task.parent_process : task.pid;
  child.site = task.site;
  child.mask = task.mask;
  child.forgoes_counter = task.forgoes_counter;
  child.says_not_random = task.says_not_random;
  child.affinity = task.affinity;
  child.dumpable = (arguments.flags & CLONE_VM) != 0
                       ? task.dumpable
                       : std::make_shared<std::optional<int>>(*task.dumpable);
  child.fault_actions = (arguments.flags & CLONE_SIGHAND) != 0
                            ? task.fault_actions
                            : std::make_shared<FaultActions>(*task.fault_actions);
  if ((arguments.flags & kCloneClearHandlers) != 0) {
    for (FaultAction* action :
         {&child.fault_actions->segv, &child.fault_actions->ill, &child.fault_actions->trap}) {
      if (!ignores(*action)) {
        *action = {};
      }
    }
  }
  if ((arguments.flags & CLONE_VM) != 0) {
    child.next_digest = task.next_digest;
  }
  child.replaced = (arguments.flags & CLONE_VM) != 0
                       ? task.replaced
                       : std::make_shared<ReplacedInstructions>(*task.replaced);
  child.made_code = (arguments.flags & CLONE_VM) != 0 ? task.made_code
                                                      : std::make_shared<MadeCode>(*task.made_code);
  child.has_filter = task.has_filter;
  child.forgoes_privileges = task.forgoes_privileges;
  if (((arguments.flags & CLONE_FILES) != 0) != thread) {
    task.buffer->give_up_descriptors(task.memory);
  }
  if ((arguments.flags & CLONE_VM) != 0) {
    child.buffer = task.buffer;
  } else {
    child.buffer = std::make_shared<buffer::CallBuffer>(*task.buffer);
    child.buffer->set_owner(child.pid);
  }
  const bool untraced =
      task.untraced || (task.call.number == SYS_clone && (task.call[0] & kCloneUntraced) != 0);
  const int told = untraced ? 0 : task.tracee.last_stop().event();
  scheduler_.await_first(child);
  trace::EventData& event = writer_->begin(trace::EventKind::kNewTask, task);
  if (!task.begun) {
    put_entry(task, event);
  }
  event.child = tid;
  event.child_process = child.pid;
  event.flags = arguments.flags;
  const bool alive = !child.tracee.last_stop().gone();
  if (task.untraced) {
    task.untraced = false;
    put_back_untraced(task, task);
    if (alive && (arguments.flags & CLONE_VM) == 0) {
      put_back_untraced(task, child);
    }
  }
  if (alive) {
    event.child_registers = child.tracee.registers();
    event.child_registers.orig_rax = ~std::uint64_t{0};
    child.boundary = child.tracee.registers();
    if ((arguments.flags & CLONE_CHILD_SETTID) != 0) {
      writer_->add_memory(child.memory, arguments.child_tid, sizeof(pid_t), event.child_memory);
    }
  }
  if ((arguments.flags & CLONE_PARENT_SETTID) != 0) {
    writer_->add_memory(task.memory, arguments.parent_tid, sizeof(pid_t), event.memory);
  }
  if ((arguments.flags & CLONE_PIDFD) != 0) {
    writer_->add_memory(task.memory, arguments.pidfd, sizeof(int), event.memory);
  }
  tell_made_code(task);
  if ((arguments.flags & CLONE_CHILD_CLEARTID) != 0) {
    child.clear_tid = arguments.child_tid;
  }
  writer_->write();
  task.begun = true;
  if (!alive) { // killed at birth
    scheduler_.report_again(child);
  }
  task.state = State::kInCall;
  if (task.traced) {
    if ((arguments.flags & CLONE_VFORK) != 0) {
      task.traced->vfork_child = tid;
      task.traced->vfork_done = true;
    }
    on_traced_fork(task, child, told);
    if (task.state == State::kTraced) {
      return;
    }
  }
  task.tracee.resume(PTRACE_SYSCALL);
  if ((arguments.flags & CLONE_VFORK) == 0) {
    if (std::optional<process::TraceeStop> stop = scheduler_.await_call(task)) {
      handle(task, *stop);
    }
  }
}

// Keeps a file that the program maps, and begins to look through its code.
std::string Recorder::keep_code(int fd, const std::string& path) {
  code_.prepare(fd);
  struct stat before;
  const bool known = ::fstat(fd, &before) == 0;
  std::string kept = writer_->keep_file(fd, path);
  if (known) {
    code_.note_link(fd, before.st_nlink);
  }
  return kept;
}

// The files of a new program: what they are is found out while it is made ready.
KeptFiles Recorder::keep_programs(const RecordedTask& task) {
  KeptFiles kept;
  for (const process::ProcMapping& mapping : process::read_mappings(task.tid)) {
    if (mapping.inode == 0 || mapping.shared || kept.count(mapping.name) != 0) {
      continue;
    }
    const ScopedFd file = open_mapped(task, mapping);
    if (!file) {
      const int error = errno;
      if (!process::try_read_link(process::proc_path(task.pid, "exe"))) {
        throw Error(ErrorCode::kProcessGone,
                    "process " + std::to_string(task.pid) + " ended meanwhile");
      }
      throw system_error(error, "cannot open a file that the program has mapped")
          .in_file(mapping.name);
    }
    const std::string name = process::without_deleted(mapping.name);
    kept[mapping.name] = keep_code(file.get(), name);
    kept[name] = kept[mapping.name];
  }
  return kept;
}

// Opens a file that the task has mapped. In another mount namespace than ours another file may lie
// under its name, so that comes last.
ScopedFd Recorder::open_mapped(const RecordedTask& task, const process::ProcMapping& mapping) {
  char name[64];
  std::snprintf(name, sizeof name, "map_files/%llx-%llx",
                static_cast<unsigned long long>(mapping.start),
                static_cast<unsigned long long>(mapping.end));
  ScopedFd file(::open(process::proc_path(task.pid, name).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file && process::try_read_link(process::proc_path(task.pid, "ns/mnt")) !=
                   process::try_read_link("/proc/self/ns/mnt")) {
    file.reset(::open((process::proc_path(task.pid, "root") + mapping.name).c_str(),
                      O_RDONLY | O_CLOEXEC));
  } else if (!file) {
    file.reset(::open(mapping.name.c_str(), O_RDONLY | O_CLOEXEC));
  }
  return file;
}

// Of the memory that a task had before execve(2), what the kernel wrote for those who have it
// still, in another process.
void Recorder::record_relinquished(const RecordedTask& task, const Relinquished& former) {
  for (const auto& [tid, other] : scheduler_.tasks()) {
    if (other->replaced != former.space || other->pid == task.pid || !other->tracee.attached()) {
      continue;
    }
    std::vector<std::uint64_t> words = robust_words(former.robust_list, other->memory);
    words.push_back(former.clear_tid);
    for (const std::uint64_t word : words) {
      if (word != 0) {
        record_foreign_write(task, *other, word, sizeof(pid_t));
      }
    }
    return;
  }
}

// Makes a new program, which is at the end of its execve(2), ready to be recorded, and writes its
// image. Returns its name in the trace. Throws kProcessGone where it is killed meanwhile.
std::string Recorder::prepare_image(RecordedTask& task) {
  KeptFiles kept = keep_programs(task);
  task.in_call = false;
  task.begun = false;
  task.reported = false;
  task.tracee.resume(PTRACE_SYSCALL);
  if (task.tracee.wait().gone()) {
    throw Error(ErrorCode::kProcessGone,
                "process " + std::to_string(task.tid) + " ended meanwhile");
  }
  task.memory = process::RemoteMemory(task.tid);
  task.clear_tid = 0;
  task.robust_list = 0;
  task.shared_futexes.clear();
  task.site = 0;
  task.dumpable = std::make_shared<std::optional<int>>();
  task.mask = task.tracee.signal_mask();
  task.fault_actions = std::make_shared<FaultActions>();
  const std::uint64_t ignored = process::ProcStatus::read(task.pid, task.tid).ignored;
  // SIG_DFL or SIG_IGN
  task.fault_actions->segv[0] = ignored >> (SIGSEGV - 1) & 1;
  task.fault_actions->ill[0] = ignored >> (SIGILL - 1) & 1;
  task.fault_actions->trap[0] = ignored >> (SIGTRAP - 1) & 1;
  task.replaced = std::make_shared<ReplacedInstructions>();
  task.made_code = std::make_shared<MadeCode>();
  task.buffer = std::make_shared<buffer::CallBuffer>();
  task.next_digest = std::make_shared<std::int64_t>(0);
  const SuspendedFilters suspended(task);
  std::string image = "images/" + std::to_string(images_++) + ".pcp";
  try {
    prepare_program(task.tracee, traps_, model_);
    replace_in_program(task);
    writer_->expect(write_image(task.tracee, options_.directory + "/" + image,
                                start_.getRoot<schema::TraceStart>().getCpu().asReader(),
                                std::move(kept), background_, writer_->stand_ins(), file_cache_));
    make_buffer(task);
  } catch (const Error& error) {
    if (!suspended.needed() || error.code() == ErrorCode::kUnsupportedState ||
        error.code() == ErrorCode::kProcessGone) {
      throw;
    }
    throw Error(ErrorCode::kUnsupportedState,
                "a filter of seccomp(2) keeps the recorder from preparing a program (" +
                    std::string(error.what()) + ")")
        .with_hint("with CAP_SYS_ADMIN the recorder suspends the filter meanwhile");
  }
  return image;
}

// The process was killed before its new program had executed anything: its tasks have ended in the
// call, whose entry is given where the trace does not have it. The end of the one that has the
// process's id is still to be reported.
void Recorder::end_in_exec(RecordedTask& task, pid_t caller, const trace::EventData* entered,
                           const std::vector<pid_t>& others) {
  if (entered != nullptr) {
    trace::EventData& event = writer_->begin(trace::EventKind::kSystemCallBegun, task);
    event.task = caller;
    event.registers = entered->registers;
    event.inputs = entered->inputs;
    event.input_digest = entered->input_digest;
    writer_->write();
  }
  for (const pid_t tid : others) {
    trace::EventData& event = writer_->begin(trace::EventKind::kExit, task);
    event.task = tid;
    event.status = SIGKILL;
    writer_->write();
  }
}

void Recorder::on_exec(RecordedTask& task, pid_t former) {
  // All other threads of the process are gone, and the one that called has the process's id now.
  RecordedTask* caller = &task;
  if (former != task.tid) {
    if (RecordedTask* other = scheduler_.find(former)) {
      caller = other;
    }
  }
  const bool begun = caller->begun;
  const std::vector<RecordedTask::SharedWord> abandoned = abandoned_futexes(task.pid);
  const Relinquished relinquished{caller->replaced, caller->clear_tid, caller->robust_list};
  trace::EventData entered; // the task that called is forgotten before the event begins
  put_entry(*caller, entered);
  if (caller != &task) {
    task.held = std::move(caller->held);
    task.forgoes_counter = caller->forgoes_counter;
    task.has_filter = caller->has_filter;
    task.forgoes_privileges = caller->forgoes_privileges;
    task.says_not_random = caller->says_not_random;
    task.affinity = caller->affinity;
    task.traced = std::move(caller->traced);
    task.passing = caller->passing;
    caller->tracee.release();
    scheduler_.erase(former);
  }
  std::vector<pid_t> gone;
  for (const auto& [tid, other] : scheduler_.tasks()) {
    if (other->pid == task.pid && tid != task.tid) {
      gone.push_back(tid);
    }
  }
  for (pid_t tid : gone) {
    on_tracee_gone(*scheduler_.find(tid), 0);
    scheduler_.find(tid)->tracee.release();
    scheduler_.erase(tid);
    release_tracees(tid);
  }
  if (former != task.tid) {
    for (const auto& [tid, other] : scheduler_.tasks()) {
      if (other->traced && other->traced->tracer == former) {
        other->traced->tracer = task.tid;
      }
    }
  }
  std::string image;
  try {
    image = prepare_image(task);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kProcessGone) {
      if (former != task.tid) {
        gone.push_back(former);
      }
      end_in_exec(task, former, begun ? nullptr : &entered, gone);
    }
    throw;
  }
  task.end_recorded = false;
  trace::EventData& event = writer_->begin(trace::EventKind::kExec, task);
  if (!begun) {
    event.registers = entered.registers;
    event.inputs = entered.inputs;
    event.input_digest = entered.input_digest;
  }
  event.image = image;
  event.executable = process::try_read_link(process::proc_path(task.pid, "exe")).value_or("");
  if (std::optional<std::string> text =
          process::try_read_file(process::proc_path(task.pid, "cmdline"))) {
    std::string_view rest = *text;
    while (!rest.empty()) {
      event.arguments.emplace_back(process::cut_field(rest, '\0'));
    }
  }
  event.former_task = former != task.tid ? former : 0;
  for (const RecordedTask::SharedWord& word : abandoned) {
    record_shared_word(task, word);
  }
  record_relinquished(task, relinquished);
  writer_->write();
  task.boundary = task.tracee.registers();
  task.state = State::kReady;
  if (task.traced) {
    task.traced->executed = true;
    task.traced->former = former;
    task.traced->exec_call = static_cast<long>(entered.registers->orig_rax);
  }
}

// What the kernel did to the memory of a dead task, as `survivor` sees it: the word of
// set_tid_address(2) and the futexes of its robust list.
void Recorder::record_last_writes(const RecordedTask& dead, RecordedTask& survivor) {
  if (dead.clear_tid != 0) {
    writer_->add_memory(survivor.memory, dead.clear_tid, sizeof(pid_t), writer_->event().memory);
  }
  for (std::uint64_t word : robust_words(dead.robust_list, survivor.memory)) {
    writer_->add_memory(survivor.memory, word, sizeof(pid_t), writer_->event().memory);
  }
}

// The futexes of the robust list at `list` (0: none), as it stands in `memory`.
std::vector<std::uint64_t> Recorder::robust_words(std::uint64_t list,
                                                  process::RemoteMemory& memory) {
  std::vector<std::uint64_t> words;
  if (list == 0) {
    return words;
  }
  struct Head { // struct robust_list_head of linux/futex.h
    std::uint64_t first = 0;
    std::int64_t offset = 0;
    std::uint64_t pending = 0;
  } head;
  const auto bytes = std::as_writable_bytes(std::span(&head, 1));
  if (memory.read_some(list, bytes) != bytes.size()) {
    return words;
  }
  constexpr int kMaxEntries = 2048; // ROBUST_LIST_LIMIT
  constexpr std::uint64_t kPriorityInheritance = 1;
  auto add = [&](std::uint64_t entry) {
    words.push_back(entry + static_cast<std::uint64_t>(head.offset));
  };
  std::uint64_t at = head.first & ~kPriorityInheritance;
  for (int i = 0; i < kMaxEntries && at != 0 && at != list; ++i) {
    add(at);
    std::uint64_t next = 0;
    memory.read_some(at, std::as_writable_bytes(std::span(&next, 1)));
    at = next & ~kPriorityInheritance;
  }
  if (const std::uint64_t pending = head.pending & ~kPriorityInheritance; pending != 0) {
    add(pending);
  }
  return words;
}

// The kernel spares the first process of a PID namespace its own fault as long as somebody traces
// it (kernel/signal.c, SIGNAL_UNKILLABLE): the instruction would fault for ever. So the process is
// left to die by itself; its threads are still reported.
void Recorder::leave_dying(RecordedTask& task, int signal) {
  trace::EventData& event = writer_->begin(trace::EventKind::kExit, task);
  event.registers = task.fatal_fault;
  event.status = signal;
  record_abandoned_futexes(task);
  writer_->write();
  task.tracee.detach();
  if (task.tid == first_process_) {
    status_ = signal;
  }
  scheduler_.erase(task.tid);
}

// The end of a process's leader is reported after that of its other threads, but they see at once
// what the kernel does to its memory: its event comes when it has ended.
void Recorder::record_end_of_leader(RecordedTask& task) {
  const auto& tasks = scheduler_.tasks();
  const auto survivor = std::find_if(tasks.begin(), tasks.end(), [&](const auto& entry) {
    return entry.second->pid == task.pid && entry.second.get() != &task &&
           entry.second->tracee.attached();
  });
  if (task.tid != task.pid || survivor == tasks.end()) {
    return;
  }
  constexpr int kAttempts = 1000;
  for (int i = 0; i < kAttempts; ++i) {
    const std::optional<std::string> text =
        process::try_read_file(process::proc_task_path(task.pid, task.tid, "stat"));
    const char state = text ? process::ProcStat::parse(*text).state : 'X';
    if (state == 'Z' || state == 'X') {
      break;
    }
    ::usleep(1000);
  }
  trace::EventData& event = writer_->begin(trace::EventKind::kExit, task);
  event.status = static_cast<int>((task.call[0] & 0xff) << 8);
  record_last_writes(task, *survivor->second);
  record_abandoned_futexes(task);
  writer_->write();
  task.end_recorded = true;
  release_tracees(task.tid);
}

void Recorder::on_gone(RecordedTask& task, const process::TraceeStop& stop) {
  const pid_t ended = task.tid;
  if (task.end_recorded) {
    if (task.tid == first_process_) {
      status_ = stop.status();
    }
    on_tracee_gone(task, stop.status());
    scheduler_.erase(ended);
    return;
  }
  if (task.in_call && !task.begun) {
    // It ran to the call, in which it was killed, by a filter of seccomp(2) for one: others may
    // have seen what it did before.
    put_entry(task, writer_->begin(trace::EventKind::kSystemCallBegun, task));
    writer_->write();
  }
  trace::EventData& event = writer_->begin(trace::EventKind::kExit, task);
  event.registers = task.fatal_fault;
  event.status = stop.status();
  // What the kernel wrote on behalf of the dead is seen by those who shared its memory.
  for (auto& [tid, other] : scheduler_.tasks()) {
    if (other.get() != &task && other->pid == task.pid && other->tracee.attached()) {
      try {
        record_last_writes(task, *other);
      } catch (const Error&) {
        event.memory.clear(); // the whole process ends
      }
      break;
    }
  }
  record_abandoned_futexes(task);
  writer_->write();
  if (task.tid == first_process_) {
    status_ = stop.status();
  }
  on_tracee_gone(task, stop.status());
  scheduler_.erase(ended);
  release_tracees(ended);
}

} // namespace rrpcp::replay
