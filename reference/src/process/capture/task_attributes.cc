#include "process/capture/task_attributes.h"

#include "process/capture/data_bytes.h"
#include "process/memory_policy.h"
#include "process/proc_file.h"
#include "process/scheduling_attributes.h"
#include "rrpcp/error.h"

#include <array>
#include <cerrno>
#include <optional>
#include <sched.h>
#include <span>
#include <string>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rrpcp::process::capture {

namespace {

// linux/prctl.h, newer than some headers.
constexpr int kPrGetIoFlusher = 58;
constexpr int kPrSchedCore = 62;
constexpr int kPrSchedCoreGet = 0;
constexpr int kPrSchedCoreThread = 0;             // PIDTYPE_PID
constexpr int kArchGetCpuid = 0x1011;             // asm/prctl.h
constexpr std::uint32_t kSpeculationSettable = 1; // PR_SPEC_PRCTL
constexpr std::uint32_t kSpeculationFeatures = 3; // linux/prctl.h PR_SPEC_*
constexpr std::uint32_t kSeccompFilter = 2;       // linux/seccomp.h
constexpr std::size_t kFilterInstruction = 8;     // sizeof(struct sock_filter)

void collect_scheduling(pid_t tid, schema::TaskAttributes::Builder out) {
  SchedulingAttributes attributes{};
  if (::syscall(SYS_sched_getattr, tid, &attributes, sizeof attributes, 0) != 0) {
    throw system_error(errno, "cannot get the scheduling of thread " + std::to_string(tid));
  }
  auto scheduling = out.initScheduling();
  scheduling.setPolicy(attributes.policy);
  scheduling.setFlags(attributes.flags);
  scheduling.setNice(attributes.nice);
  scheduling.setPriority(attributes.priority);
  if (attributes.policy == SCHED_DEADLINE) { // the others' slices are the kernel's own
    scheduling.setRuntime(attributes.runtime);
    scheduling.setDeadline(attributes.deadline);
    scheduling.setPeriod(attributes.period);
  }
  scheduling.setUtilizationMinimum(attributes.utilization_minimum);
  scheduling.setUtilizationMaximum(attributes.utilization_maximum);
}

void collect_processors(pid_t tid, schema::TaskAttributes::Builder out) {
  constexpr std::size_t kMostBytes = 8192; // 65536 processors
  std::vector<std::byte> mask(kMostBytes);
  const long size = ::syscall(SYS_sched_getaffinity, tid, mask.size(), mask.data());
  if (size < 0) {
    throw system_error(errno, "cannot get the processors of thread " + std::to_string(tid));
  }
  mask.resize(static_cast<std::size_t>(size));
  while (!mask.empty() && mask.back() == std::byte{0}) {
    mask.pop_back();
  }
  out.setProcessors(as_data(mask));
}

// The filters in the order in which they were installed. Needs CAP_SYS_ADMIN (ptrace(2)), and a
// kernel with CONFIG_CHECKPOINT_RESTORE; without, there are none.
void collect_filters(pid_t tid, schema::TaskAttributes::Builder out) {
  constexpr int kGetFilter = 0x420c;   // PTRACE_SECCOMP_GET_FILTER
  constexpr int kGetMetadata = 0x420d; // PTRACE_SECCOMP_GET_METADATA
  struct Metadata {
    std::uint64_t filter;
    std::uint64_t flags;
  };
  std::vector<std::vector<std::byte>> programs; // the oldest first
  std::vector<std::uint64_t> flags;
  for (std::uint64_t index = 0;; ++index) {
    const long count = ::syscall(SYS_ptrace, kGetFilter, tid, index, nullptr);
    if (count < 0) {
      if (errno != ENOENT) {
        return;
      }
      break;
    }
    std::vector<std::byte> program(static_cast<std::size_t>(count) * kFilterInstruction);
    if (::syscall(SYS_ptrace, kGetFilter, tid, index, program.data()) != count) {
      return;
    }
    Metadata metadata{index, 0};
    ::syscall(SYS_ptrace, kGetMetadata, tid, sizeof metadata, &metadata);
    programs.push_back(std::move(program));
    flags.push_back(metadata.flags);
  }
  auto filters = out.initSeccompFilters(static_cast<unsigned>(programs.size()));
  for (unsigned i = 0; i < filters.size(); ++i) {
    filters[i].setProgram(as_data(programs[i]));
    filters[i].setFlags(flags[i]);
  }
}

void collect_speculation(RemoteCalls& calls, const ProcStatus& status,
                         schema::TaskAttributes::Builder out) {
  // What /proc/PID/status calls "vulnerable" or "enabled" is how a thread begins.
  const bool untouched = status.store_bypass.find("mitigated") == std::string::npos &&
                         status.indirect_branch.find("conditional disabled") == std::string::npos &&
                         status.indirect_branch.find("force disabled") == std::string::npos;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> set;
  for (std::uint32_t feature = untouched ? 2 : 0; feature < kSpeculationFeatures; ++feature) {
    const std::int64_t state = calls.call(SYS_prctl, PR_GET_SPECULATION_CTRL, feature, 0, 0, 0);
    if (state < 0 || (state & kSpeculationSettable) == 0) {
      continue;
    }
    const auto value = static_cast<std::uint32_t>(state) & ~kSpeculationSettable;
    // The L1D flush is off where a thread has not asked for it, the other two features are on.
    if (value != PR_SPEC_ENABLE && !(feature == 2 && value == PR_SPEC_DISABLE)) {
      set.emplace_back(feature, value);
    } else if (feature == 2 && value == PR_SPEC_ENABLE) {
      set.emplace_back(feature, value);
    }
  }
  if (set.empty()) {
    return;
  }
  auto list = out.initSpeculation(static_cast<unsigned>(set.size()));
  for (unsigned i = 0; i < list.size(); ++i) {
    list[i].setFeature(set[i].first);
    list[i].setState(set[i].second);
  }
}

void collect_memory_policy(RemoteCalls& calls, ScratchMemory& scratch,
                           schema::TaskAttributes::Builder out) {
  constexpr std::uint64_t kNodesOffset = 8;
  const std::int64_t result = calls.call(SYS_get_mempolicy, scratch.address(),
                                         scratch.address() + kNodesOffset, kMostMemoryNodes, 0, 0);
  if (result != 0) {
    return; // a kernel without CONFIG_NUMA
  }
  struct Answer {
    std::uint32_t mode;
    std::uint32_t padding;
    std::array<std::byte, kMostMemoryNodes / 8> nodes;
  };
  Answer answer = scratch.read<Answer>();
  if (answer.mode == 0) { // MPOL_DEFAULT
    return;
  }
  std::size_t size = answer.nodes.size();
  while (size > 0 && answer.nodes[size - 1] == std::byte{0}) {
    --size;
  }
  auto policy = out.initMemoryPolicy();
  policy.setMode(answer.mode);
  policy.setNodes(as_data(std::span<const std::byte>(answer.nodes).first(size)));
}

} // namespace

void collect_seen_attributes(const Tracee& thread, const ProcStatus& status,
                             schema::TaskAttributes::Builder out) {
  const pid_t tid = thread.tid();
  out.setNoNewPrivileges(status.no_new_privileges);
  out.setSeccompMode(static_cast<std::uint32_t>(status.seccomp));
  if (out.getSeccompMode() == kSeccompFilter) {
    collect_filters(tid, out);
  }
  if (std::optional<SyscallDispatch> dispatch = thread.syscall_dispatch();
      dispatch && dispatch->mode != 0) {
    auto target = out.initSystemCallDispatch();
    target.setMode(dispatch->mode);
    target.setStart(dispatch->offset);
    target.setLength(dispatch->length);
    target.setSelector(dispatch->selector);
  }
  collect_scheduling(tid, out);
  collect_processors(tid, out);
  const long priority = ::syscall(SYS_ioprio_get, kIoprioWhoProcess, tid);
  if (priority < 0) {
    throw system_error(errno, "cannot get the I/O priority of thread " + std::to_string(tid));
  }
  out.setIoPriority(static_cast<std::uint32_t>(priority));
  std::uint64_t cookie = 0;
  if (::prctl(kPrSchedCore, kPrSchedCoreGet, tid, kPrSchedCoreThread, &cookie) == 0) {
    out.setCoreSchedulingCookie(cookie);
  }
  out.setControlGroups(
      as_data(try_read_file(proc_task_path(status.process, tid, "cgroup")).value_or("")));
}

void collect_asked_attributes(RemoteCalls& calls, ScratchMemory& scratch, const ProcStatus& status,
                              schema::TaskAttributes::Builder out) {
  out.setTimerSlack(
      calls.require("asking for the timer slack", SYS_prctl, PR_GET_TIMERSLACK, 0, 0, 0, 0));
  const std::int64_t policy = calls.call(SYS_prctl, PR_MCE_KILL_GET, 0, 0, 0, 0);
  if (policy >= 0) {
    out.setMachineCheckPolicy(static_cast<std::uint32_t>(policy));
  }
  // Without CAP_SYS_RESOURCE the thread may not ask; who may not ask did not set it.
  out.setIoFlusher(calls.call(SYS_prctl, kPrGetIoFlusher, 0, 0, 0, 0) == 1);
  if (calls.call(SYS_prctl, PR_GET_TSC, scratch.address(), 0, 0, 0) == 0) {
    out.setTimestampsForbidden(scratch.read<std::int32_t>() == PR_TSC_SIGSEGV);
  }
  out.setCpuidForbidden(calls.call(SYS_arch_prctl, kArchGetCpuid, 0) == 0);
  collect_speculation(calls, status, out);
  collect_memory_policy(calls, scratch, out);
}

std::uint32_t ask_securebits(RemoteCalls& calls) {
  return static_cast<std::uint32_t>(
      calls.require("asking for the securebits", SYS_prctl, PR_GET_SECUREBITS, 0, 0, 0, 0));
}

} // namespace rrpcp::process::capture
