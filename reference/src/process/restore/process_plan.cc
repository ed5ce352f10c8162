#include "process/restore/process_plan.h"

#include "base/bytes.h"
#include "process/carried.h"
#include "process/restore/file_identity.h"
#include "process/restore/kernel_attributes.h"
#include "process/restore/kernel_files.h"
#include "process/restore/signal_bytes.h"
#include "process/restore/xsave_area.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <asm/ldt.h>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <span>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/user.h>
#include <time.h>
#include <unistd.h>
#include <utility>

namespace rrpcp::process::restore {

namespace {

constexpr int kLastSignal = 64;
// asm/prctl.h
constexpr int kArchReqXcompPerm = 0x1023;
constexpr int kArchShadowStackDisable = 0x5002;
constexpr std::uint64_t kXsaveTileData = 18;
// linux/prctl.h, Linux 6.15: timer_create(2) gives the id that is asked for.
constexpr int kPrTimerCreateRestoreIds = 77;
// linux/rseq.h
constexpr std::uint32_t kRseqUnregister = 1;
constexpr std::uint32_t kRseqOldLength = 32;
constexpr std::uint32_t kAlternateStackKept = 1u << 31; // SS_AUTODISARM

// The kernel's struct sigaction on x86-64.
struct KernelSigaction {
  std::uint64_t handler;
  std::uint64_t flags;
  std::uint64_t restorer;
  std::uint64_t mask;
};

// The kernel's struct sigevent (asm-generic/siginfo.h).
struct KernelSigevent {
  std::uint64_t value;
  std::int32_t signal;
  std::int32_t notify;
  std::int32_t tid;
  std::int32_t padding[11];
};
static_assert(sizeof(KernelSigevent) == 64);

timespec to_timespec(std::uint64_t nanoseconds) {
  constexpr std::uint64_t kSecond = 1'000'000'000;
  return {static_cast<time_t>(nanoseconds / kSecond), static_cast<long>(nanoseconds % kSecond)};
}

timeval to_timeval(std::uint64_t microseconds) {
  constexpr std::uint64_t kSecond = 1'000'000;
  return {static_cast<time_t>(microseconds / kSecond),
          static_cast<suseconds_t>(microseconds % kSecond)};
}

ScopedFd open_directory(const std::string& path) {
  ScopedFd directory(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) {
    throw Error(ErrorCode::kBackingFile, "cannot open the directory")
        .with_errno(errno)
        .in_file(path);
  }
  return directory;
}

std::optional<std::span<const std::byte>> register_set(schema::Task::Reader task,
                                                       std::uint32_t note_type) {
  for (schema::RegisterSet::Reader set : task.getRegisters()) {
    if (set.getNoteType() == note_type) {
      return std::as_bytes(std::span(set.getData().begin(), set.getData().size()));
    }
  }
  return std::nullopt;
}

} // namespace

ProcessPlan::ProcessPlan(const CheckpointReader& reader, std::uint32_t process,
                         const MemoryObjects& objects, const OpenFiles* files,
                         const RestoreOptions& options, const ProcessParts& parts,
                         bool outlives_restorer, Obstacles& obstacles)
    : reader_(reader), state_(reader.state()), process_(state_.getProcesses()[process]),
      objects_(objects), files_(files), options_(options), parts_(parts),
      outlives_restorer_(outlives_restorer), process_index_(process) {
  find_tasks();
  check_tasks(obstacles);
  check_confinement(obstacles);
  space_.emplace(reader, task(0).getAddressSpace(), objects, options, obstacles);
  plan_credentials(obstacles);
  if (outlives_restorer_) {
    for (std::size_t i = 0; i < tasks_.size(); ++i) {
      if (task(i).getParentDeathSignal() != 0) {
        obstacles.warn("thread " + std::to_string(task(i).getTid()) +
                       " gets no signal when its parent ends: that is the restorer, which ends at "
                       "once");
      }
    }
  }
  if (parts_.files) {
    open_directories(obstacles);
    check_descriptor_limit(obstacles);
  }
}

// Above the program's own numbers there has to be room for those that the restore needs.
void ProcessPlan::check_descriptor_limit(Obstacles& obstacles) const {
  const int highest = files_->highest_descriptor(task(0).getFileTable());
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && highest > 0 &&
      static_cast<rlim_t>(highest) >= limit.rlim_cur) {
    obstacles.add(ErrorCode::kUnsupportedState,
                  "descriptor " + std::to_string(highest) + " is above the " +
                      std::to_string(limit.rlim_cur) +
                      " that may be open here (RLIMIT_NOFILE, sysctl fs.nr_open)");
  }
}

void ProcessPlan::plan_credentials(Obstacles& obstacles) {
  if (!parts_.attributes || !process_.hasCredentials()) {
    return;
  }
  for (std::size_t i = 0; i < tasks_.size(); ++i) {
    const schema::Task::Reader thread = task(i);
    const bool own = thread.hasCredentials();
    if (i != 0 && !own) {
      credentials_.push_back(credentials_.front());
      continue;
    }
    credentials_.emplace_back(own ? thread.getCredentials() : process_.getCredentials(),
                              own ? "thread " + std::to_string(thread.getTid()) : "the process",
                              has_foreign_user_namespace(state_, thread), obstacles);
  }
}

void ProcessPlan::place_descriptors() {
  if (std::exchange(placed_, true)) {
    return;
  }
  space_->add_descriptors(descriptors_);
  if (root_directory_) {
    root_directory_index_ = descriptors_.add(root_directory_.get());
  }
  if (working_directory_) {
    working_directory_index_ = descriptors_.add(working_directory_.get());
  }
  std::vector<int> used;
  if (parts_.files) {
    table_files_ = files_->add_to(descriptors_, task(0).getFileTable());
    used = files_->numbers(task(0).getFileTable());
  }
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  descriptors_.freeze(used, limit.rlim_cur);
  const std::size_t count = descriptors_.own().size();
  if (static_cast<rlim_t>(descriptors_.number(count)) > limit.rlim_cur) {
    throw Error(ErrorCode::kLimit,
                "among the numbers of the process's descriptors there is no room for the " +
                    std::to_string(count) + " that are needed to make it: only " +
                    std::to_string(limit.rlim_cur) + " may be open here (RLIMIT_NOFILE)")
        .with_hint("raise the limit (ulimit -Hn)");
  }
}

void ProcessPlan::find_tasks() {
  auto tasks = state_.getTasks();
  for (std::uint32_t i = 0; i < tasks.size(); ++i) {
    if (tasks[i].getProcess() == process_index_) {
      tasks_.push_back(i);
    }
  }
  auto leader = std::find_if(tasks_.begin(), tasks_.end(), [&](std::uint32_t i) {
    return tasks[i].getTid() == process_.getPid();
  });
  if (tasks_.empty()) {
    throw Error(ErrorCode::kDamaged,
                "process " + std::to_string(process_.getPid()) + " has no threads")
        .in_file(reader_.name());
  }
  if (leader == tasks_.end() && !parts_.ids) {
    return;
  }
  if (leader == tasks_.end()) {
    return; // judge_state() has said so
  }
  std::rotate(tasks_.begin(), leader, leader + 1);
}

void ProcessPlan::check_tasks(Obstacles& obstacles) const {
  const schema::Task::Reader leader = task(0);
  const XsaveLayout own = own_xsave_layout();
  const XsaveLayout stored = stored_xsave_layout(state_.getCpu());
  std::uint64_t needed = state_.getCpu().getXsaveFeatures();
  std::size_t area_size = 0;
  for (const XsaveLayout::Component& component : own.components) {
    area_size = std::max<std::size_t>(area_size, component.offset + component.size);
  }
  std::vector<std::byte> area(std::max<std::size_t>(area_size, 576));
  for (std::size_t i = 0; i < tasks_.size(); ++i) {
    const schema::Task::Reader thread = task(i);
    obstacles.add(judge_task(state_, thread));
    check_rseq(thread);
    if (auto xstate = register_set(thread, NT_X86_XSTATE)) {
      needed |= xsave_components_in_use(*xstate);
      if ((xsave_components_in_use(*xstate) & ~own.features) == 0) {
        try {
          convert_xsave_area(*xstate, stored, area, own);
        } catch (const Error& error) {
          obstacles.add(error);
        }
      }
    }
  }
  if ((needed & ~own.features) != 0) {
    obstacles.add(ErrorCode::kUnsupportedState,
                  "this processor or its kernel lacks registers that the process uses: " +
                      xsave_component_names(needed & ~own.features));
  }
  std::string missing;
  for (const std::string& name : missing_instruction_sets(state_.getCpu())) {
    missing += (missing.empty() ? "" : ", ") + name;
  }
  if (!missing.empty()) {
    obstacles.add(ErrorCode::kUnsupportedState,
                  "this processor lacks instructions that the process may use: " + missing);
  }
  for (std::uint32_t i = 0; parts_.own_memory && i < state_.getTasks().size(); ++i) {
    const schema::Task::Reader other = state_.getTasks()[i];
    if (other.getProcess() != process_index_ &&
        other.getAddressSpace() == leader.getAddressSpace()) {
      obstacles.add(ErrorCode::kUnsupportedState,
                    "process " + std::to_string(process_.getPid()) +
                        " shares its memory with another process (vfork(2), clone(2))");
      break;
    }
  }
}

void ProcessPlan::check_confinement(Obstacles& obstacles) {
  for (std::size_t i = 0; parts_.attributes && i < tasks_.size(); ++i) {
    confines_ = confines_ || task(i).getAttributes().getSeccompMode() != 0;
  }
  if (confines_ && !may_suspend_confinement()) {
    confines_ = false;
    obstacles.add_unless_allowed(
        ErrorCode::kPermission, "seccomp",
        "to put back a confinement by seccomp(2) takes CAP_SYS_ADMIN, and not to be confined",
        "the restored process is not confined");
  }
}

// The restorer reads the area: it must be there.
void ProcessPlan::check_rseq(schema::Task::Reader task) const {
  if (!task.hasRseq()) {
    return;
  }
  const std::uint64_t address = task.getRseq().getAddress();
  constexpr std::uint32_t kNeeded = PROT_READ | PROT_WRITE;
  for (schema::Mapping::Reader mapping :
       state_.getAddressSpaces()[task.getAddressSpace()].getMappings()) {
    if (mapping.getStart() <= address && address < mapping.getEnd() && address % 32 == 0 &&
        (mapping.getProtection() & kNeeded) == kNeeded) {
      return;
    }
  }
  throw Error(ErrorCode::kDamaged, "the rseq area of thread " + std::to_string(task.getTid()) +
                                       " is in no writable mapping")
      .in_file(reader_.name());
}

void ProcessPlan::open_directories(Obstacles& obstacles) {
  const std::uint32_t index = task(0).getFileSystemContext();
  if (index == schema::NO_INDEX) {
    return;
  }
  schema::FileSystemContext::Reader context = state_.getFileSystemContexts()[index];
  try {
    const std::string root = text_of(context.getRootDirectory());
    if (!root.empty() && root != "/") {
      root_directory_ = open_directory(root);
    }
    const std::string path = text_of(context.getWorkingDirectory());
    if (!path.empty()) {
      working_directory_ = open_directory(path);
    }
  } catch (const Error& error) {
    obstacles.add(error);
  }
}

std::uint64_t ProcessPlan::arena_size() const {
  // Rough upper bounds; memory that is not used costs nothing.
  constexpr std::uint64_t kPerOperation = 128; // and what its arguments point to
  constexpr std::uint64_t kPerTask = 32768;    // with its credentials
  constexpr std::uint64_t kBase = std::uint64_t{16} << 20;
  std::uint64_t size = kBase + space_->operation_bound() * kPerOperation +
                       tasks_.size() * kPerTask + descriptors_.own().size() * 2 * kPerOperation +
                       process_.getPendingSignals().size() * 2 * kPerOperation;
  for (std::size_t i = 0; i < tasks_.size(); ++i) {
    size += task(i).getPendingSignals().size() * 2 * kPerOperation;
    for (schema::SeccompFilter::Reader filter : task(i).getAttributes().getSeccompFilters()) {
      size += filter.getProgram().size() + kPerOperation;
    }
  }
  for (schema::OpenFile::Reader file : state_.getOpenFiles()) {
    size += file.getLocks().size() * 2 * kPerOperation;
    if (file.isEpoll()) {
      size += file.getEpoll().getWatches().size() * 2 * kPerOperation;
    } else if (file.isInotify()) {
      constexpr std::uint64_t kPathSize = 4096;
      size += file.getInotify().getWatches().size() * (3 * kPerOperation + kPathSize);
    } else if (file.isSocketEnd()) {
      size += socket_arena_size(file.getSocketEnd());
    }
  }
  for (schema::FileTable::Reader table : state_.getFileTables()) {
    size += table.getDescriptors().size() * kPerOperation;
  }
  return size;
}

CompiledProcess ProcessPlan::compile() const {
  CompiledProcess compiled;
  compiled.arena = std::make_unique<Arena>(arena_size(), space_->parking_size(), space_->ranges());
  Arena& arena = *compiled.arena;
  compiled.control = arena.allocate<restorer::Control>();
  for (std::size_t i = 0; i < tasks_.size(); ++i) {
    compiled.lists.emplace_back(arena);
  }
  compiled.confinements.resize(tasks_.size());
  for (std::size_t i = 0; confines_ && i < tasks_.size(); ++i) {
    if (is_seccomp_carried(state_, task(i))) {
      compiled.confinements[i] = place_confinement(arena, task(i).getAttributes());
    }
  }
  std::vector<restorer::Thread*> threads{nullptr};
  compiled.critical_sections.resize(tasks_.size());
  for (std::size_t i = 1; i < tasks_.size(); ++i) {
    compiled.critical_sections[i] = add_thread_ops(compiled.lists[i], i);
    threads.push_back(compiled.lists[i].seal(compiled.control));
  }

  OpList& ops = compiled.lists[0];
  using Policy = OpFailure::Policy;
  // Should the library die before it traces the process, nothing of it may stay behind. And a
  // program that got its privileges at exec (file capabilities) may not be traced otherwise.
  ops.system_call({"binding the process to the restorer"}, SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0,
                  0, 0);
  ops.add({"finding the restorer alive"}, restorer::OpKind::kEndIfOrphan, ::getpid());
  ops.system_call({"becoming traceable"}, SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
  ops.add({"reporting"}, restorer::OpKind::kReachStage, kStageReady);
  ops.add({"waiting"}, restorer::OpKind::kAwaitStage, kStageTraced);
  ops.system_call({"disabling the shadow stack", "", Policy::kIgnore}, SYS_arch_prctl,
                  kArchShadowStackDisable, 1);
  compiled.rseq_operation = ops.system_call({"ending the restorer's own rseq registration"},
                                            SYS_rseq, 0, 0, kRseqUnregister, 0);
  if (::personality(0xffffffff) != PER_LINUX) { // its flags would change how memory is mapped
    ops.system_call({"setting the personality"}, SYS_personality, PER_LINUX);
  }
  add_descriptor_moving_ops(ops);
  if (parts_.files) {
    compiled.own_id_operations = files_->add_descriptor_ops(ops, descriptors_, table_files_);
  }
  space_->add_clearing_ops(ops, descriptors_);
  const schema::AddressSpace::Reader space = state_.getAddressSpaces()[task(0).getAddressSpace()];
  const bool has_space_attributes = parts_.attributes && space.hasAttributes();
  if (has_space_attributes) {
    add_early_space_ops(ops, space.getAttributes());
  }
  space_->add_mapping_ops(ops, descriptors_);
  ops.add({"reporting"}, restorer::OpKind::kReachStage, kStageMapped);
  space_->add_reading_ops(ops, descriptors_);
  ops.add({"waiting"}, restorer::OpKind::kAwaitStage, kStageFilled);
  space_->add_finishing_ops(ops);
  if (has_space_attributes) {
    add_late_space_ops(ops, space.getAttributes());
  }
  if (parts_.files) {
    files_->add_watch_ops(ops, descriptors_, table_files_);
    add_directory_ops(ops);
  }
  if (!descriptors_.own().empty()) {
    ops.system_call({"closing descriptors"}, SYS_close_range, descriptors_.base(),
                    descriptors_.number(descriptors_.own().size()) - 1, 0);
  }
  if (parts_.files) {
    files_->add_lock_ops(ops, table_files_);
  }
  if (parts_.signals) {
    add_disposition_ops(ops);
  }
  if (parts_.attributes) {
    add_attribute_ops(ops);
  }
  if ((state_.getCpu().getXsaveFeatures() >> kXsaveTileData & 1) != 0) {
    ops.system_call({"asking for the use of AMX tiles"}, SYS_arch_prctl, kArchReqXcompPerm,
                    kXsaveTileData);
  }
  for (std::size_t i = 1; i < tasks_.size(); ++i) {
    clone_args arguments{};
    arguments.flags =
        CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    constexpr std::uint64_t kUsed = restorer::kStackBytes - 64;
    arguments.stack = threads[i]->stack_top - kUsed;
    arguments.stack_size = kUsed;
    if (parts_.ids) {
      const pid_t tid = task(i).getTid();
      arguments.set_tid = reinterpret_cast<std::uint64_t>(arena.place(tid));
      arguments.set_tid_size = 1;
    }
    compiled.clone_operations.push_back(ops.add(
        {"creating thread", std::to_string(task(i).getTid())}, restorer::OpKind::kStartThread,
        arena.place(arguments), sizeof arguments, threads[i]));
  }
  if (parts_.attributes) {
    add_limit_ops(ops);
  }
  if (parts_.timers) {
    add_timer_ops(ops);
  }
  compiled.critical_sections[0] = add_thread_ops(ops, 0);
  if (parts_.files && parts_.ids) {
    files_->add_owner_ops(ops, table_files_);
  }
  if (parts_.signals) {
    add_signal_ops(ops, process_.getPendingSignals(), true);
    if (parts_.files && files_->has_resized_terminal(table_files_)) {
      siginfo_t resized{};
      resized.si_signo = SIGWINCH;
      resized.si_code = SI_KERNEL;
      ops.add({"telling of the terminal's size", "", Policy::kWarn}, restorer::OpKind::kQueueSignal,
              arena.place(resized), SIGWINCH, 1);
    }
  }
  compiled.leader = ops.seal(compiled.control);
  return compiled;
}

void ProcessPlan::add_descriptor_moving_ops(OpList& ops) const {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ops.system_call({"raising the limit of open files", "", OpFailure::Policy::kIgnore},
                  SYS_prlimit64, 0, RLIMIT_NOFILE, ops.arena().place(limit), nullptr);
  for (std::size_t i = 0; i < descriptors_.own().size(); ++i) {
    ops.system_call({"moving a descriptor to", std::to_string(descriptors_.number(i))}, SYS_dup3,
                    descriptors_.own()[i], descriptors_.number(i), O_CLOEXEC);
  }
  ops.system_call({"closing descriptors"}, SYS_close_range, 0, descriptors_.base() - 1, 0);
  const std::uint64_t end =
      static_cast<std::uint64_t>(descriptors_.base()) + descriptors_.own().size();
  ops.system_call({"closing descriptors"}, SYS_close_range, end, UINT32_MAX, 0);
}

void ProcessPlan::add_directory_ops(OpList& ops) const {
  const std::uint32_t index = task(0).getFileSystemContext();
  if (index == schema::NO_INDEX) {
    return;
  }
  if (root_directory_index_) {
    ops.system_call({"changing to the root directory"}, SYS_fchdir,
                    descriptors_.number(*root_directory_index_));
    ops.system_call({"changing the root directory"}, SYS_chroot, ops.arena().place_string("."));
  }
  if (working_directory_index_) {
    ops.system_call({"changing the working directory"}, SYS_fchdir,
                    descriptors_.number(*working_directory_index_));
  }
  ops.system_call({"setting the umask"}, SYS_umask,
                  state_.getFileSystemContexts()[index].getUmask());
}

void ProcessPlan::add_disposition_ops(OpList& ops) const {
  std::array<KernelSigaction, kLastSignal + 1> actions{};
  if (const std::uint32_t index = task(0).getSignalHandlers(); index != schema::NO_INDEX) {
    for (schema::SignalAction::Reader action :
         state_.getSignalHandlerTables()[index].getActions()) {
      if (action.getSignal() <= kLastSignal) {
        actions[action.getSignal()] = {action.getHandler(), action.getFlags(), action.getRestorer(),
                                       action.getMask()};
      }
    }
  }
  for (int signal = 1; signal <= kLastSignal; ++signal) {
    if (signal != SIGKILL && signal != SIGSTOP) {
      ops.system_call({"setting the disposition of signal", std::to_string(signal)},
                      SYS_rt_sigaction, signal,
                      ops.arena().place(actions[static_cast<std::size_t>(signal)]), nullptr,
                      sizeof(std::uint64_t));
    }
  }
}

void ProcessPlan::add_attribute_ops(OpList& ops) const {
  using Policy = OpFailure::Policy;
  const int pid = process_.getPid();
  if (process_.getSessionId() == pid || outlives_restorer_) {
    ops.system_call({"making a session"}, SYS_setsid);
  } else if (process_.getProcessGroup() == pid) {
    ops.system_call({"making a process group"}, SYS_setpgid, 0, 0);
  } else if (process_.getProcessGroup() != 0) {
    // Only a group of the restorer's own session can be joined; otherwise it stays in its group.
    ops.system_call({"joining a process group", "", Policy::kIgnore}, SYS_setpgid, 0,
                    process_.getProcessGroup());
  }
  ops.system_call({"setting the personality"}, SYS_personality, process_.getPersonality());
  ops.system_call({"setting the subreaper attribute"}, SYS_prctl, PR_SET_CHILD_SUBREAPER,
                  process_.getChildSubreaper() ? 1 : 0, 0, 0, 0);
}

void ProcessPlan::add_limit_ops(OpList& ops) const {
  for (schema::ResourceLimit::Reader wanted : process_.getResourceLimits()) {
    rlimit own{};
    const auto resource = static_cast<__rlimit_resource>(wanted.getResource());
    if (::getrlimit(resource, &own) == 0 && own.rlim_cur == wanted.getSoft() &&
        own.rlim_max == wanted.getHard() && wanted.getResource() != RLIMIT_NOFILE) {
      continue;
    }
    const rlimit limit{wanted.getSoft(), wanted.getHard()};
    ops.system_call({"setting resource limit",
                     std::to_string(wanted.getResource()) + " to " +
                         std::to_string(wanted.getSoft()) + " of " +
                         std::to_string(wanted.getHard()),
                     OpFailure::Policy::kWarn},
                    SYS_prlimit64, 0, wanted.getResource(), ops.arena().place(limit), nullptr);
  }
}

void ProcessPlan::add_timer_ops(OpList& ops) const {
  using Policy = OpFailure::Policy;
  if (process_.getPosixTimers().size() != 0) {
    ops.system_call({"asking for timers by id (Linux 6.15)", "", Policy::kWarn}, SYS_prctl,
                    kPrTimerCreateRestoreIds, 1, 0, 0, 0);
    for (schema::PosixTimer::Reader timer : process_.getPosixTimers()) {
      KernelSigevent event{};
      event.value = timer.getValue();
      event.signal = timer.getSignal();
      event.notify = static_cast<std::int32_t>(timer.getNotify());
      event.tid = timer.getTid();
      const std::string name = std::to_string(timer.getId());
      ops.system_call({"creating timer", name, Policy::kWarn}, SYS_timer_create, timer.getClock(),
                      ops.arena().place(event), ops.arena().place(timer.getId()));
      const itimerspec value{to_timespec(timer.getInterval()), to_timespec(timer.getRemaining())};
      ops.system_call({"arming timer", name, Policy::kWarn}, SYS_timer_settime, timer.getId(), 0,
                      ops.arena().place(value), nullptr);
    }
    ops.system_call({"leaving timer ids to the kernel", "", Policy::kIgnore}, SYS_prctl,
                    kPrTimerCreateRestoreIds, 0, 0, 0, 0);
  }
  for (schema::IntervalTimer::Reader timer : process_.getIntervalTimers()) {
    const itimerval value{to_timeval(timer.getInterval()), to_timeval(timer.getValue())};
    ops.system_call({"setting interval timer", std::to_string(timer.getTimer())}, SYS_setitimer,
                    timer.getTimer(), ops.arena().place(value), nullptr);
  }
}

std::optional<std::size_t> ProcessPlan::add_thread_ops(OpList& ops, std::size_t index) const {
  const schema::Task::Reader task = this->task(index);
  std::optional<std::size_t> critical_section;
  const std::string name = std::to_string(task.getTid());
  ops.system_call({"setting the exit address of thread", name}, SYS_set_tid_address,
                  task.getClearChildTid());
  if (task.getRobustListHead() != 0) {
    ops.system_call({"setting the robust list of thread", name}, SYS_set_robust_list,
                    task.getRobustListHead(), task.getRobustListLength());
  }
  if (task.hasRseq()) {
    schema::RestartableSequence::Reader rseq = task.getRseq();
    critical_section =
        ops.add({"reading the rseq area of thread", name, OpFailure::Policy::kIgnore},
                restorer::OpKind::kLoad, rseq.getAddress() + kRseqCriticalSection);
    ops.system_call({"registering rseq for thread", name}, SYS_rseq, rseq.getAddress(),
                    rseq.getLength() != 0 ? rseq.getLength() : kRseqOldLength, rseq.getFlags(),
                    rseq.getSignature());
  }
  stack_t stack{};
  stack.ss_flags = SS_DISABLE; // a thread of the restorer may have had one
  if (task.hasAlternateStack() && (task.getAlternateStack().getFlags() & SS_DISABLE) == 0) {
    schema::AlternateStack::Reader stored = task.getAlternateStack();
    stack.ss_sp = reinterpret_cast<void*>(stored.getAddress());
    stack.ss_flags = static_cast<int>(stored.getFlags() & kAlternateStackKept);
    stack.ss_size = stored.getSize();
  }
  ops.system_call({"setting the alternate signal stack of thread", name}, SYS_sigaltstack,
                  ops.arena().place(stack), nullptr);
  for (schema::ThreadArea::Reader area : task.getThreadAreas()) {
    user_desc description{};
    description.entry_number = area.getEntryNumber();
    description.base_addr = area.getBaseAddress();
    description.limit = area.getLimit();
    description.seg_32bit = area.getSegment32Bit() ? 1 : 0;
    description.contents = area.getContents() & 3;
    description.read_exec_only = area.getReadExecuteOnly() ? 1 : 0;
    description.limit_in_pages = area.getLimitInPages() ? 1 : 0;
    description.seg_not_present = area.getSegmentNotPresent() ? 1 : 0;
    description.useable = area.getUseable() ? 1 : 0;
    description.lm = area.getLongMode() ? 1 : 0;
    ops.system_call({"setting a thread area of thread", name}, SYS_set_thread_area,
                    ops.arena().place(description));
  }
  ops.system_call({"naming thread", name}, SYS_prctl, PR_SET_NAME,
                  ops.arena().place_string(text_of(task.getName())), 0, 0, 0);
  if (parts_.attributes && task.hasAttributes()) {
    add_task_attribute_ops(ops, task.getAttributes(), name);
  }
  if (parts_.attributes && !credentials_.empty()) {
    credentials_[index].add_ops(ops);
  }
  if (parts_.attributes && task.hasAttributes()) {
    add_confinement_ops(ops, task.getAttributes(), name);
  }
  const int death_signal =
      parts_.attributes && !outlives_restorer_ ? task.getParentDeathSignal() : 0;
  ops.system_call({"setting the parent-death signal of thread", name}, SYS_prctl, PR_SET_PDEATHSIG,
                  death_signal, 0, 0, 0);
  if (parts_.signals) {
    add_signal_ops(ops, task.getPendingSignals(), false);
  }
  return critical_section;
}

void ProcessPlan::add_signal_ops(OpList& ops, capnp::List<schema::SignalInfo>::Reader signals,
                                 bool process) const {
  for (schema::SignalInfo::Reader signal : signals) {
    ops.add({"queueing signal", std::to_string(signal.getSignal())}, restorer::OpKind::kQueueSignal,
            ops.arena().place(signal_bytes(signal)), signal.getSignal(), process ? 1 : 0);
  }
}

} // namespace rrpcp::process::restore
