#include "process/restore/process_builder.h"

#include "base/bytes.h"
#include "process/proc_file.h"
#include "process/proc_stat.h"
#include "process/proc_status.h"
#include "process/remote_calls.h"
#include "process/remote_memory.h"
#include "process/restore/kernel_attributes.h"
#include "process/restore/xsave_area.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <elf.h>
#include <filesystem>
#include <linux/futex.h>
#include <linux/sched.h>
#include <optional>
#include <span>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <utility>

namespace rrpcp::process::restore {

namespace {

// How long to wait for a sign of life before looking whether the process has died.
constexpr long kPatienceNanoseconds = 20'000'000;

// Blocks all signals of the calling thread, those of the C library too, for a scope: a child that
// is made meanwhile must not run this process's handlers.
class BlockSignals {
public:
  BlockSignals() {
    ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &kAllSignals, &before_, sizeof before_);
  }
  ~BlockSignals() { ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before_, nullptr, sizeof before_); }
  BlockSignals(const BlockSignals&) = delete;
  BlockSignals& operator=(const BlockSignals&) = delete;

private:
  std::uint64_t before_ = 0;
};

struct ChildEntry {
  Arena::Enter enter;
  restorer::Thread* leader;
};

// What the child does first. Not instrumented: a sanitizer's runtime would not know the process.
[[gnu::no_sanitize("address", "undefined", "thread")]] void enter_restorer(void* argument) {
  const auto* entry = static_cast<const ChildEntry*>(argument);
  entry->enter(entry->leader);
}

[[gnu::no_sanitize("address", "undefined", "thread")]] pid_t clone_child(ChildEntry& entry,
                                                                         const pid_t* wanted) {
  clone_args arguments{};
  arguments.exit_signal = SIGCHLD;
  if (wanted != nullptr) {
    arguments.set_tid = reinterpret_cast<std::uint64_t>(wanted);
    arguments.set_tid_size = 1;
  }
  const long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid == 0) {
    enter_restorer(&entry);
  }
  return static_cast<pid_t>(pid);
}

// Who keeps an id in use: the process of that id, else a member of its group or session, one that
// has not ended first; 0: none is seen any more.
pid_t find_user(pid_t id, bool& ended) {
  pid_t found = 0;
  ended = true;
  if (std::optional<ProcStatus> own = ProcStatus::try_read(id, id)) {
    ended = own->state == 'Z' || own->state == 'X';
    return id;
  }
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const auto pid = static_cast<pid_t>(std::atoi(entry.path().filename().c_str()));
    const std::optional<std::string> text =
        pid > 0 ? try_read_file(proc_path(pid, "stat")) : std::nullopt;
    if (!text || text->empty()) {
      continue;
    }
    const ProcStat stat = ProcStat::parse(*text);
    if (stat.process_group == id || stat.session == id) {
      found = pid;
      ended = stat.state == 'Z' || stat.state == 'X';
      if (!ended) {
        break;
      }
    }
  }
  return found;
}

// Waits where a group or session keeps the id in use of which all processes have ended, five
// seconds at most: they are reaped soon, as a rule. Copies of the process that a capture has read
// are among them.
bool becomes_free(pid_t id, int& naps) {
  constexpr int kMostNaps = 100;
  bool ended = false;
  if (find_user(id, ended) == id || !ended || ++naps > kMostNaps) {
    return false;
  }
  const timespec nap{0, 50'000'000};
  ::nanosleep(&nap, nullptr);
  return true;
}

Error id_error(int errno_value, pid_t id) {
  const std::string text = "id " + std::to_string(id);
  switch (errno_value) {
  case EEXIST: {
    bool ended = false;
    const pid_t other = find_user(id, ended);
    std::string user = "by a process group or session";
    std::string cure = "end that process";
    if (other != 0 && other != id) {
      user += ", of which process " + std::to_string(other) + " is a member";
    }
    if (std::optional<ProcStatus> status = ProcStatus::try_read(id, id)) {
      user = "by process " + std::to_string(status->process) + " (" + status->name + ")";
      if (status->state == 'Z') {
        const std::string parent = "process " + std::to_string(status->parent);
        user += ", which has ended, but its parent, " + parent +
                ", has not asked for its exit "
                "status yet";
        cure = "let " + parent + " do so (a shell does at its next prompt)";
      }
    }
    return Error(ErrorCode::kIdInUse, text + " is in use " + user)
        .with_hint(cure + ", or let the restored one have other ids (--allow new-ids)");
  }
  case EPERM:
    return Error(ErrorCode::kPermission,
                 "no permission to give the process its id " + std::to_string(id))
        .with_hint("run as root or with CAP_CHECKPOINT_RESTORE, or let it have other ids "
                   "(--allow new-ids)");
  case EINVAL:
    return Error(ErrorCode::kIdInUse, text + " is above the largest that the system gives")
        .with_hint("raise the sysctl kernel.pid_max, or let it have other ids (--allow new-ids)");
  default:
    return system_error(errno_value, "cannot create a process");
  }
}

pid_t make_child(ChildEntry& entry, const ProcessPlan& plan, const BuildOptions& options) {
  const BlockSignals blocked;
  if (options.make_child) {
    return options.make_child(enter_restorer, &entry);
  }
  const pid_t wanted = plan.process().getPid();
  for (int naps = 0;;) {
    const pid_t pid = clone_child(entry, plan.parts().ids ? &wanted : nullptr);
    if (pid >= 0) {
      return pid;
    }
    const int error = errno;
    if (error != EEXIST || !becomes_free(wanted, naps)) {
      throw id_error(error, wanted);
    }
  }
}

// While a process is made. Those of the caller come last: by PTRACE_O_TRACECLONE the restorer would
// be stopped where it makes a thread, and so would the thread.
constexpr std::uintptr_t kBuildOptions = PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL;

class Builder {
public:
  Builder(ProcessPlan& plan, const CheckpointReader& reader, const BuildOptions& options)
      : plan_(plan), reader_(reader), options_(options), compiled_(compile(plan)), process_(0) {}

  BuiltProcess build(std::vector<PageCopy> copies) {
    start();
    permit(kStageTraced);
    wait_until([&] { return __atomic_load_n(&control().stage, __ATOMIC_SEQ_CST) >= kStageMapped; });
    if (plan_.parts().attributes) {
      write_attributes();
    }
    const std::vector<PageCopy>& own = plan_.space().copies();
    copies.insert(copies.end(), own.begin(), own.end());
    copy_pages(std::move(copies), process_.pid(), options_.threads);
    permit(kStageFilled);
    const std::size_t threads = plan_.tasks().size();
    wait_until(
        [&] { return __atomic_load_n(&control().threads_done, __ATOMIC_SEQ_CST) == threads; });
    collect_warnings();
    take_threads();
    confine();
    for (BuiltTask& task : process_.tasks()) {
      if (task.index != plan_.tasks().front()) {
        set_registers(task);
      }
    }
    finish_leader();
    set_registers(process_.tasks().front());
    restore_critical_sections();
    restore_dispatch();
    for (BuiltTask& task : process_.tasks()) {
      task.tracee.set_options(kBuildOptions | options_.trace_options);
    }
    return std::move(process_);
  }

private:
  static CompiledProcess compile(ProcessPlan& plan) {
    plan.place_descriptors();
    return plan.compile();
  }
  restorer::Control& control() { return *compiled_.control; }
  Tracee& leader() { return process_.tasks().front().tracee; }

  // Makes the child, traces it, and tells it where its inherited rseq registration is.
  void start() {
    ChildEntry entry{compiled_.arena->enter(), compiled_.leader};
    process_ = BuiltProcess(make_child(entry, plan_, options_));
    wait_until([&] { return __atomic_load_n(&control().stage, __ATOMIC_SEQ_CST) >= kStageReady; });
    process_.tasks().push_back(
        {plan_.tasks().front(), Tracee::seize(process_.pid(), kBuildOptions)});
    leader().stop();
    restorer::Op& op = compiled_.lists[0].sealed(compiled_.rseq_operation);
    if (std::optional<RseqConfiguration> rseq = leader().rseq()) {
      op.args[0] = rseq->address;
      op.args[1] = rseq->length;
      op.args[3] = rseq->signature;
    } else {
      op.number = SYS_getpid; // nothing to end
    }
    for (const std::size_t operation : compiled_.own_id_operations) {
      compiled_.lists[0].sealed(operation).args[0] = static_cast<std::uint64_t>(process_.pid());
    }
    leader().resume(PTRACE_CONT);
  }

  void permit(std::uint32_t stage) {
    __atomic_store_n(&control().permitted_stage, stage, __ATOMIC_SEQ_CST);
    ::syscall(SYS_futex, &control().permitted_stage, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
  }

  // Waits until `reached()` or an operation of the restorer fails or the process dies.
  template <typename Reached> void wait_until(Reached reached) {
    for (;;) {
      const std::uint32_t ticket = __atomic_load_n(&control().ticket, __ATOMIC_SEQ_CST);
      if (__atomic_load_n(&control().failed, __ATOMIC_SEQ_CST) != 0) {
        throw failure();
      }
      if (reached()) {
        return;
      }
      const timespec patience{0, kPatienceNanoseconds};
      ::syscall(SYS_futex, &control().ticket, FUTEX_WAIT, ticket, &patience, nullptr, 0);
      check_alive();
    }
  }

  // A thread of the restorer never stops by itself: if it does, it has crashed or was killed.
  void check_alive() {
    if (process_.tasks().empty()) { // not traced yet
      siginfo_t end{};
      if (::waitid(P_PID, static_cast<id_t>(process_.pid()), &end,
                   WEXITED | WNOHANG | WNOWAIT | __WALL) == 0 &&
          end.si_pid != 0) {
        throw Error(ErrorCode::kProcessGone, "the process was killed while it was restored");
      }
      return;
    }
    std::optional<TraceeStop> stop = leader().wait_for(std::chrono::milliseconds(0));
    if (!stop) {
      return;
    }
    if (stop->gone()) {
      throw Error(ErrorCode::kProcessGone, "the process was killed while it was restored");
    }
    if (stop->signal() == SIGSEGV || stop->signal() == SIGBUS || stop->signal() == SIGILL ||
        stop->signal() == SIGSYS) {
      throw Error(ErrorCode::kInternal, "the restorer received signal " +
                                            std::to_string(stop->signal()) + " at address " +
                                            std::to_string(leader().registers().rip));
    }
    leader().resume(PTRACE_CONT); // someone else's SIGSTOP or the like
  }

  // The Error for the operation that failed.
  Error failure() {
    const std::uint64_t address = __atomic_load_n(&control().failed_op, __ATOMIC_SEQ_CST);
    const std::vector<std::size_t>& clones = compiled_.clone_operations;
    for (std::size_t i = 0; i < compiled_.lists.size(); ++i) {
      OpList& list = compiled_.lists[i];
      std::optional<std::size_t> index = list.index_of(address);
      if (!index) {
        continue;
      }
      const int error = static_cast<int>(-list.sealed(*index).result);
      auto clone = std::find(clones.begin(), clones.end(), *index);
      if (i == 0 && clone != clones.end() && plan_.parts().ids) {
        return id_error(error,
                        plan_.task(static_cast<std::size_t>(clone - clones.begin()) + 1).getTid());
      }
      Error failed = system_error(error, list.describe(*index) + " failed in the new process");
      // A missing file is no reason for "not found" here: everything was open before.
      return failed.code() == ErrorCode::kNotFound
                 ? Error(ErrorCode::kSystem, failed.message()).with_errno(error)
                 : failed;
    }
    return Error(ErrorCode::kInternal, "the restorer failed in an unknown place");
  }

  void collect_warnings() {
    for (const OpList& list : compiled_.lists) {
      for (std::string& warning : list.warnings()) {
        // The same for every thread: once is enough.
        if (std::find(process_.warnings().begin(), process_.warnings().end(), warning) ==
            process_.warnings().end()) {
          process_.warnings().push_back(std::move(warning));
        }
      }
    }
  }

  // All threads wait in the restorer now: trace and stop them.
  void take_threads() {
    for (std::size_t i = 1; i < plan_.tasks().size(); ++i) {
      const auto tid =
          static_cast<pid_t>(compiled_.lists[0].sealed(compiled_.clone_operations[i - 1]).result);
      process_.tasks().push_back({plan_.tasks()[i], Tracee::seize(tid, kBuildOptions)});
      process_.tasks().back().tracee.interrupt();
    }
    leader().interrupt();
    for (BuiltTask& task : process_.tasks()) {
      TraceeStop stop = task.tracee.wait_stop();
      if (!stop.event_stop()) {
        task.tracee.stop();
      }
    }
  }

  // Threads confine themselves when nothing but the last calls is made for us: as long as their
  // tracer wants it, filters are suspended.
  void confine() {
    std::vector<Tracee*> tracees;
    for (BuiltTask& task : process_.tasks()) {
      tracees.push_back(&task.tracee);
    }
    confine_threads(tracees, compiled_.confinements, compiled_.arena->syscall_instruction(),
                    kBuildOptions);
  }

  // The leader lets go of the arena as the last thing, by a system call after which it never comes
  // back to it.
  void finish_leader() {
    RemoteCalls calls(leader(), compiled_.arena->syscall_instruction());
    const bool dumpable = !plan_.parts().attributes || !plan_.process().getNotDumpable();
    calls.require("setting the dumpable attribute", SYS_prctl, PR_SET_DUMPABLE, dumpable ? 1 : 0, 0,
                  0, 0);
    const MemoryRange arena = compiled_.arena->range();
    calls.require("unmapping the restorer", SYS_munmap, arena.start, arena.length());
    calls.finish();
  }

  void set_registers(BuiltTask& task) { set_stored_registers(task.tracee, reader_, task.index); }

  // Registering rseq ends the critical section that the thread may have been in. Put back, it makes
  // the kernel abort the section when the thread goes on, as it does after any migration.
  void restore_critical_sections() {
    RemoteMemory memory(process_.pid());
    for (std::size_t i = 0; i < plan_.tasks().size(); ++i) {
      if (std::optional<std::size_t> operation = compiled_.critical_sections[i]) {
        const std::int64_t section = compiled_.lists[i].sealed(*operation).result;
        if (section != 0) {
          memory.write(plan_.task(i).getRseq().getAddress() + kRseqCriticalSection,
                       std::as_bytes(std::span(&section, 1)));
        }
      }
    }
  }

  // While the process has our credentials still.
  void write_attributes() {
    const schema::State::Reader state = reader_.state();
    const auto space = state.getAddressSpaces()[plan_.task(0).getAddressSpace()];
    if (space.hasAttributes()) {
      process_.warnings() =
          write_process_attributes(process_.pid(), plan_.process(), space.getAttributes(),
                                   !plan_.space().mapped_from_checkpoint().empty());
    }
  }

  // From now on the threads' own calls may be dispatched to their handlers: none is made for us.
  void restore_dispatch() {
    for (std::size_t i = 0; i < plan_.tasks().size(); ++i) {
      const schema::TaskAttributes::Reader attributes = plan_.task(i).getAttributes();
      if (attributes.hasSystemCallDispatch()) {
        const schema::SystemCallDispatch::Reader stored = attributes.getSystemCallDispatch();
        SyscallDispatch dispatch;
        dispatch.mode = stored.getMode();
        dispatch.selector = stored.getSelector();
        dispatch.offset = stored.getStart();
        dispatch.length = stored.getLength();
        process_.tasks()[i].tracee.set_syscall_dispatch(dispatch);
      }
    }
  }

  ProcessPlan& plan_;
  const CheckpointReader& reader_;
  const BuildOptions& options_;
  CompiledProcess compiled_;
  BuiltProcess process_;
};

} // namespace

void set_stored_registers(Tracee& tracee, const CheckpointReader& reader, std::uint32_t task) {
  const schema::State::Reader state = reader.state();
  const schema::Task::Reader stored = state.getTasks()[task];
  const XsaveLayout from = stored_xsave_layout(state.getCpu());
  const XsaveLayout own = own_xsave_layout();
  auto bytes_of = [](schema::RegisterSet::Reader set) {
    return std::as_bytes(std::span(set.getData().begin(), set.getData().size()));
  };
  bool has_xstate = false;
  for (schema::RegisterSet::Reader set : stored.getRegisters()) {
    if (set.getNoteType() == NT_X86_XSTATE) {
      has_xstate = true;
      std::optional<std::vector<std::byte>> area = tracee.register_set(NT_X86_XSTATE);
      if (!area) {
        throw Error(ErrorCode::kUnsupportedState, "the kernel does not give the XSAVE area");
      }
      convert_xsave_area(bytes_of(set), from, *area, own);
      tracee.set_register_set(NT_X86_XSTATE, *area);
    }
  }
  for (schema::RegisterSet::Reader set : stored.getRegisters()) {
    if (set.getNoteType() == NT_PRSTATUS || (set.getNoteType() == NT_PRFPREG && !has_xstate)) {
      tracee.set_register_set(set.getNoteType(), bytes_of(set));
    }
  }
  tracee.set_signal_mask(stored.getSignalMask());
}

BuiltProcess::BuiltProcess(BuiltProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)), tasks_(std::move(other.tasks_)),
      warnings_(std::move(other.warnings_)) {
  other.tasks_.clear();
}

BuiltProcess& BuiltProcess::operator=(BuiltProcess&& other) noexcept {
  if (this != &other) {
    std::swap(pid_, other.pid_);
    std::swap(tasks_, other.tasks_);
    std::swap(warnings_, other.warnings_);
  }
  return *this;
}

BuiltProcess::~BuiltProcess() {
  kill();
}

void BuiltProcess::kill() {
  if (pid_ <= 0) {
    return;
  }
  if (!tasks_.empty() && !tasks_.front().tracee.attached()) { // its end was seen: it is reaped
    tasks_.clear();
    pid_ = 0;
    return;
  }
  ::kill(pid_, SIGKILL);
  // Traced threads are waited for one by one, the leader last: it is reported only after them.
  for (std::size_t i = tasks_.size(); i-- > 0;) {
    Tracee& tracee = tasks_[i].tracee;
    try {
      while (tracee.attached() && i != 0 && !tracee.wait().gone()) {
      }
    } catch (const Error&) {
      // Gone already.
    }
    tracee.release();
  }
  int status = 0;
  for (;;) {
    const pid_t result = ::waitpid(pid_, &status, __WALL);
    if ((result < 0 && errno != EINTR) ||
        (result == pid_ && (WIFEXITED(status) || WIFSIGNALED(status)))) {
      break;
    }
  }
  tasks_.clear();
  pid_ = 0;
}

std::vector<BuiltTask> BuiltProcess::release() {
  pid_ = 0;
  return std::exchange(tasks_, {});
}

BuiltProcess build_process(ProcessPlan& plan, std::vector<PageCopy> copies,
                           const CheckpointReader& reader, const BuildOptions& options) {
  return Builder(plan, reader, options).build(std::move(copies));
}

} // namespace rrpcp::process::restore
