#include "process/restore/kernel_attributes.h"

#include "base/scoped_fd.h"
#include "process/memory_policy.h"
#include "process/proc_file.h"
#include "process/scheduling_attributes.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sched.h>
#include <span>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

namespace rrpcp::process::restore {

namespace {

using Policy = OpFailure::Policy;

// linux/prctl.h, asm/prctl.h, linux/membarrier.h, newer than some headers.
constexpr int kPrSetIoFlusher = 57;
constexpr int kPrGetIoFlusher = 58;
constexpr int kPrSetMdwe = 65;
constexpr int kPrSetMemoryMerge = 67;
constexpr int kPrGetMemoryMerge = 68;
constexpr int kArchSetCpuid = 0x1012;
constexpr int kMachineCheckSet = 1; // PR_MCE_KILL_SET
constexpr std::uint32_t kThpDisabled = 1;
// MEMBARRIER_CMD_REGISTER_*: global, private, with core synchronisation, with rseq.
constexpr std::array<std::uint32_t, 4> kMembarriers = {1u << 2, 1u << 4, 1u << 6, 1u << 8};

SchedulingAttributes own_scheduling() {
  SchedulingAttributes own{};
  ::syscall(SYS_sched_getattr, 0, &own, sizeof own, 0);
  return own;
}

void add_scheduling_op(OpList& ops, schema::Scheduling::Reader wanted, const std::string& name) {
  constexpr std::uint64_t kResetOnFork = 1;           // SCHED_FLAG_RESET_ON_FORK
  constexpr std::uint64_t kUtilization = 0x20 | 0x40; // SCHED_FLAG_UTIL_CLAMP_MIN, _MAX
  SchedulingAttributes attributes{};
  attributes.size = sizeof attributes;
  attributes.policy = wanted.getPolicy();
  attributes.flags = wanted.getFlags() & ~kUtilization;
  attributes.nice = wanted.getNice();
  attributes.priority = wanted.getPriority();
  attributes.runtime = wanted.getRuntime();
  attributes.deadline = wanted.getDeadline();
  attributes.period = wanted.getPeriod();
  const SchedulingAttributes own = own_scheduling();
  if (own.utilization_minimum != wanted.getUtilizationMinimum() ||
      own.utilization_maximum != wanted.getUtilizationMaximum()) {
    attributes.flags |= kUtilization;
    attributes.utilization_minimum = wanted.getUtilizationMinimum();
    attributes.utilization_maximum = wanted.getUtilizationMaximum();
  }
  const bool timed = attributes.policy == SCHED_DEADLINE;
  if (own.policy == attributes.policy && (own.flags & kResetOnFork) == attributes.flags &&
      own.nice == attributes.nice && own.priority == attributes.priority && !timed) {
    return;
  }
  ops.system_call({"setting the scheduling of thread", name, Policy::kWarn}, SYS_sched_setattr, 0,
                  ops.arena().place(attributes), 0);
}

void add_processors_op(OpList& ops, capnp::Data::Reader wanted, const std::string& name) {
  if (wanted.size() == 0) {
    return;
  }
  // Whole words, as the kernel takes them.
  std::vector<std::byte> mask((wanted.size() + 7) / 8 * 8);
  std::memcpy(mask.data(), wanted.begin(), wanted.size());
  std::vector<std::byte> own(8192);
  const long size = ::syscall(SYS_sched_getaffinity, 0, own.size(), own.data());
  own.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
  own.resize(std::max(own.size(), mask.size()));
  std::vector<std::byte> padded = mask;
  padded.resize(own.size());
  if (padded == own) {
    return;
  }
  ops.system_call({"setting the processors of thread", name, Policy::kWarn}, SYS_sched_setaffinity,
                  0, mask.size(), ops.arena().place_array(std::span<const std::byte>(mask)));
}

bool write_file(const std::string& path, const std::string& text) {
  ScopedFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  return file && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

} // namespace

void add_memory_policy_op(OpList& ops, schema::MemoryPolicy::Reader policy, MemoryRange range) {
  std::vector<std::byte> nodes(kMostMemoryNodes / 8);
  const std::size_t size = std::min<std::size_t>(nodes.size(), policy.getNodes().size());
  std::copy_n(reinterpret_cast<const std::byte*>(policy.getNodes().begin()), size, nodes.begin());
  const std::byte* placed =
      size == 0 ? nullptr : ops.arena().place_array(std::span<const std::byte>(nodes));
  // The kernel takes one bit less than it is told.
  const std::uint64_t bits = size == 0 ? 0 : kMostMemoryNodes + 1;
  if (range.end != 0) {
    ops.system_call({"binding to memory nodes (mbind)", "", Policy::kWarn, range}, SYS_mbind,
                    range.start, range.length(), policy.getMode(), placed, bits, 0);
  } else {
    ops.system_call({"setting the memory policy", "", Policy::kWarn}, SYS_set_mempolicy,
                    policy.getMode(), placed, bits);
  }
}

void add_task_attribute_ops(OpList& ops, schema::TaskAttributes::Reader attributes,
                            const std::string& name) {
  // A child begins with what the restorer has: what it lacks of that is put back to the default.
  if (attributes.hasScheduling()) {
    add_scheduling_op(ops, attributes.getScheduling(), name);
  }
  add_processors_op(ops, attributes.getProcessors(), name);
  if (::syscall(SYS_ioprio_get, kIoprioWhoProcess, 0) != attributes.getIoPriority()) {
    ops.system_call({"setting the I/O priority of thread", name, Policy::kWarn}, SYS_ioprio_set,
                    kIoprioWhoProcess, 0, attributes.getIoPriority());
  }
  if (attributes.getTimerSlack() != 0) { // 0: a real-time thread, which has none
    ops.system_call({"setting the timer slack of thread", name, Policy::kWarn}, SYS_prctl,
                    PR_SET_TIMERSLACK, attributes.getTimerSlack(), 0, 0, 0);
  }
  ops.system_call({"setting the machine-check policy of thread", name, Policy::kWarn}, SYS_prctl,
                  PR_MCE_KILL, kMachineCheckSet, attributes.getMachineCheckPolicy(), 0, 0);
  if (attributes.getIoFlusher() || ::prctl(kPrGetIoFlusher, 0, 0, 0, 0) == 1) {
    ops.system_call({"setting the I/O flusher attribute of thread", name, Policy::kWarn}, SYS_prctl,
                    kPrSetIoFlusher, attributes.getIoFlusher() ? 1 : 0, 0, 0, 0);
  }
  if (attributes.hasMemoryPolicy()) {
    add_memory_policy_op(ops, attributes.getMemoryPolicy(), {});
  } else {
    ops.system_call({"setting the memory policy", "", Policy::kIgnore}, SYS_set_mempolicy, 0,
                    nullptr, 0);
  }
  if (attributes.getTimestampsForbidden()) {
    ops.system_call({"forbidding time stamps to thread", name}, SYS_prctl, PR_SET_TSC,
                    PR_TSC_SIGSEGV, 0, 0, 0);
  }
  if (attributes.getCpuidForbidden()) {
    ops.system_call({"forbidding CPUID to thread", name, Policy::kWarn}, SYS_arch_prctl,
                    kArchSetCpuid, 0);
  }
}

void add_confinement_ops(OpList& ops, schema::TaskAttributes::Reader attributes,
                         const std::string& name) {
  for (schema::SpeculationControl::Reader control : attributes.getSpeculation()) {
    ops.system_call({"setting the speculation control of thread", name, Policy::kWarn}, SYS_prctl,
                    PR_SET_SPECULATION_CTRL, control.getFeature(), control.getState(), 0, 0);
  }
  if (attributes.getNoNewPrivileges()) {
    ops.system_call({"giving up new privileges in thread", name}, SYS_prctl, PR_SET_NO_NEW_PRIVS, 1,
                    0, 0, 0);
  }
}

void add_early_space_ops(OpList& ops, schema::SpaceAttributes::Reader attributes) {
  const std::uint32_t disabled = attributes.getHugePagesDisabled();
  ops.system_call({"setting the use of huge pages (PR_SET_THP_DISABLE)", "", Policy::kWarn},
                  SYS_prctl, PR_SET_THP_DISABLE, disabled != 0 ? 1 : 0, disabled & ~kThpDisabled, 0,
                  0);
  if (attributes.getMergeAll() || ::prctl(kPrGetMemoryMerge, 0, 0, 0, 0) == 1) {
    ops.system_call({"setting the merging of equal pages (PR_SET_MEMORY_MERGE)", "", Policy::kWarn},
                    SYS_prctl, kPrSetMemoryMerge, attributes.getMergeAll() ? 1 : 0, 0, 0, 0);
  }
}

void add_late_space_ops(OpList& ops, schema::SpaceAttributes::Reader attributes) {
  for (std::uint32_t command : kMembarriers) {
    if ((attributes.getMembarrier() & command) != 0) {
      ops.system_call({"registering for membarrier(2)"}, SYS_membarrier, command, 0, 0);
    }
  }
  if (attributes.getLockFuture()) {
    ops.system_call({"locking future memory (mlockall)", "", Policy::kWarn}, SYS_mlockall,
                    MCL_FUTURE | (attributes.getLockFutureOnFault() ? MCL_ONFAULT : 0));
  }
  if (attributes.getDenyWriteExecute() != 0) {
    ops.system_call({"denying memory that is writable and executable (PR_SET_MDWE)"}, SYS_prctl,
                    kPrSetMdwe, attributes.getDenyWriteExecute(), 0, 0, 0);
  }
}

std::vector<std::string> write_process_attributes(pid_t pid, schema::Process::Reader process,
                                                  schema::SpaceAttributes::Reader space,
                                                  bool mapped) {
  std::vector<std::string> failures;
  auto set = [&](const char* file, const char* what, const std::string& text) {
    const std::string path = proc_path(pid, file);
    std::string_view now;
    const std::string content = try_read_file(path).value_or("");
    now = content;
    if (cut_field(now, '\n') != text && !write_file(path, text)) {
      std::string failure = "setting ";
      failure.append(what).append(" to ").append(text).append(" failed: ");
      failures.push_back(failure.append(std::strerror(errno)));
    }
  };
  set("oom_score_adj", "the out-of-memory adjustment",
      std::to_string(process.getOutOfMemoryAdjustment()));
  constexpr std::uint32_t kAnonymousPrivate = 1, kFilePrivate = 4; // core(5)
  std::uint32_t dumped = space.getCoreDumpFilter();
  if (mapped && (dumped & kAnonymousPrivate) != 0) {
    dumped |= kFilePrivate; // what the kernel takes for a file's is the process's own memory
  }
  char filter[16];
  std::snprintf(filter, sizeof filter, "%08x", dumped);
  const std::string path = proc_path(pid, "coredump_filter");
  const std::string content = try_read_file(path).value_or("");
  std::string_view now = content;
  if (cut_field(now, '\n') != filter && !write_file(path, "0x" + std::string(filter))) {
    failures.push_back(std::string("setting the core dump filter failed: ") + std::strerror(errno));
  }
  return failures;
}

} // namespace rrpcp::process::restore
