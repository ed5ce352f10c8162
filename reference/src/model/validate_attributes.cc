// What the kernel keeps of processes, threads and address spaces beside memory, files and
// registers.
#include "model/state_check.h"

#include <algorithm>
#include <array>
#include <string>

namespace rrpcp {

using std::to_string;

namespace {

constexpr std::array<std::int32_t, 4> kStopSignals = {19, 20, 21, 22}; // STOP, TSTP, TTIN, TTOU
constexpr std::int32_t kMostOutOfMemory = 1000;                        // proc(5) oom_score_adj
constexpr std::uint32_t kSecurebits = 0xfff;      // linux/securebits.h and what may follow it
constexpr std::uint32_t kSeccompFilter = 2;       // linux/seccomp.h
constexpr std::size_t kFilterInstruction = 8;     // sizeof(struct sock_filter)
constexpr std::uint32_t kMachineCheckDefault = 2; // PR_MCE_KILL_DEFAULT
constexpr std::int32_t kLowestNice = -20, kHighestNice = 19;

bool ends_in_zero(capnp::Data::Reader bytes) {
  return bytes.size() != 0 && bytes[bytes.size() - 1] == 0;
}

} // namespace

void StateCheck::check_process_attributes(const Path& path, schema::Process::Reader process) {
  const std::int32_t stop = process.getStopSignal();
  if (stop != 0 &&
      std::find(kStopSignals.begin(), kStopSignals.end(), stop) == kStopSignals.end()) {
    beyond("process.attributes", path / "stopSignal",
           "signal " + to_string(stop) + " does not stop a process");
  }
  const std::int32_t adjustment = process.getOutOfMemoryAdjustment();
  if (adjustment < -kMostOutOfMemory || adjustment > kMostOutOfMemory) {
    findings_.in("process.attributes", path / "outOfMemoryAdjustment", to_string(adjustment));
  }
  if (process.hasCredentials()) {
    check_credentials(path / "credentials", process.getCredentials());
  }
  each_pair(path / "semaphoreUndo", process.getSemaphoreUndo(),
            [&](const Path& at, schema::SemaphoreUndo::Reader a, schema::SemaphoreUndo::Reader b) {
              if (std::pair(a.getIdentifier(), a.getNumber()) >=
                  std::pair(b.getIdentifier(), b.getNumber())) {
                findings_.in("process.attributes", at, "it does not come after the one before it");
              }
            });
}

void StateCheck::check_credentials(const Path& path, schema::Credentials::Reader credentials) {
  const std::uint64_t permitted = credentials.getPermittedCapabilities();
  if ((credentials.getEffectiveCapabilities() & ~permitted) != 0) {
    findings_.in("credentials.capabilities", path / "effectiveCapabilities",
                 "there are some that are not permitted");
  }
  if ((credentials.getAmbientCapabilities() & ~permitted) != 0 ||
      (credentials.getAmbientCapabilities() & ~credentials.getInheritableCapabilities()) != 0) {
    findings_.in("credentials.capabilities", path / "ambientCapabilities",
                 "there are some that are not permitted, or not inheritable");
  }
  if ((credentials.getSecurebits() & ~kSecurebits) != 0) {
    beyond("credentials.capabilities", path / "securebits", to_string(credentials.getSecurebits()));
  }
}

const char* StateCheck::fault_of(schema::MemoryPolicy::Reader policy) {
  return ends_in_zero(policy.getNodes()) ? "the nodes end in a zero byte" : "";
}

void StateCheck::check_task_attributes(const Path& path,
                                       schema::TaskAttributes::Reader attributes) {
  const auto filters = attributes.getSeccompFilters();
  if (attributes.getSeccompMode() > kSeccompFilter) {
    beyond("task.attributes", path / "seccompMode", to_string(attributes.getSeccompMode()));
  } else if (filters.size() != 0 && attributes.getSeccompMode() != kSeccompFilter) {
    findings_.in("task.attributes", path / "seccompMode", to_string(attributes.getSeccompMode()));
  }
  each(path / "seccompFilters", filters, [&](const Path& at, schema::SeccompFilter::Reader filter) {
    if (filter.getProgram().size() == 0 || filter.getProgram().size() % kFilterInstruction != 0) {
      findings_.in("task.attributes", at / "program",
                   to_string(filter.getProgram().size()) + " bytes are no program");
    }
  });
  if (attributes.getMachineCheckPolicy() > kMachineCheckDefault) {
    beyond("task.attributes", path / "machineCheckPolicy",
           to_string(attributes.getMachineCheckPolicy()));
  }
  each_pair(path / "speculation", attributes.getSpeculation(),
            [&](const Path& at, schema::SpeculationControl::Reader a,
                schema::SpeculationControl::Reader b) {
              if (a.getFeature() >= b.getFeature()) {
                findings_.in("task.attributes", at, "it does not come after the one before it");
              }
            });
  const std::int32_t nice = attributes.getScheduling().getNice();
  if (nice < kLowestNice || nice > kHighestNice) {
    findings_.in("task.attributes", path / "scheduling" / "nice", to_string(nice));
  }
  if (ends_in_zero(attributes.getProcessors())) {
    findings_.in("task.attributes", path / "processors", "it ends in a zero byte");
  }
  if (const char* fault = fault_of(attributes.getMemoryPolicy()); *fault != 0) {
    findings_.in("task.attributes", path / "memoryPolicy", fault);
  }
}

void StateCheck::check_space_attributes(const Path& path,
                                        schema::SpaceAttributes::Reader attributes) {
  if (attributes.getLockFutureOnFault() && !attributes.getLockFuture()) {
    findings_.in("space.attributes", path / "lockFutureOnFault", "future memory is not locked");
  }
}

void StateCheck::check_namespace_sets(const Path& path) {
  each(path, state_.getNamespaceSets(), [&](const Path& at, schema::NamespaceSet::Reader set) {
    for (const auto& [name, map] :
         {std::pair("uidMap", set.getUidMap()), std::pair("gidMap", set.getGidMap())}) {
      each(at / name, map, [&](const Path& entry, schema::IdRange::Reader range) {
        std::uint32_t end = 0;
        // The last id, 2^32-1, means "none" and is in no map.
        if (range.getCount() == 0 ||
            __builtin_add_overflow(range.getInside(), range.getCount(), &end) ||
            __builtin_add_overflow(range.getOutside(), range.getCount(), &end)) {
          findings_.in("namespace.ids", entry,
                       to_string(range.getCount()) + " ids from " + to_string(range.getInside()) +
                           " and " + to_string(range.getOutside()) + " on");
        }
      });
    }
  });
}

} // namespace rrpcp
