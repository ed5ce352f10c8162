// Processes, tasks, registers, signals.
#include "model/register_sets.h"
#include "model/state_check.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

namespace rrpcp {

using std::to_string;

namespace {

constexpr std::uint64_t kUnblockable =
    (std::uint64_t{1} << (9 - 1)) | (std::uint64_t{1} << (19 - 1));
// Task.signalMask and savedSignalMask: not recorded. No kernel blocks all signals.
constexpr std::uint64_t kMaskUnknown = UINT64_MAX;
constexpr unsigned kBigEndian = 2; // ELFDATA2MSB
constexpr std::uint64_t kSaRestorer = 0x04000000;
constexpr std::uint32_t kSsOnStack = 1, kSsDisable = 2, kSsAutoDisarm = 0x80000000;

template <typename T> T load(capnp::Data::Reader data, std::size_t offset) {
  T value;
  std::memcpy(&value, data.begin() + offset, sizeof value);
  return value;
}

} // namespace

void StateCheck::check_processes(const Path& path) {
  auto processes = state_.getProcesses();
  each(path, processes,
       [&](const Path& at, schema::Process::Reader process) { check_process(at, process); });
  each_pair(path, processes,
            [&](const Path& at, schema::Process::Reader a, schema::Process::Reader b) {
              if (a.getPid() >= b.getPid()) {
                findings_.in("process.order", at,
                             "pid " + to_string(b.getPid()) + " after " + to_string(a.getPid()));
              }
            });
}

void StateCheck::check_process(const Path& path, schema::Process::Reader process) {
  if (process.getPid() <= 0) {
    findings_.in("process.pid", path / "pid", "it is " + to_string(process.getPid()));
  }
  each(path / "pendingSignals", process.getPendingSignals(),
       [&](const Path& at, schema::SignalInfo::Reader info) { check_signal_info(at, info); });

  check_process_attributes(path, process);
  auto interval_timers = process.getIntervalTimers();
  each(path / "intervalTimers", interval_timers,
       [&](const Path& at, schema::IntervalTimer::Reader timer) {
         if (timer.getValue() == 0) {
           findings_.in("process.timer", at, "it is not armed");
         } else if (timer.getTimer() > 2) {
           beyond("process.timer", at, "there is no timer " + to_string(timer.getTimer()));
         }
       });
  each_pair(path / "intervalTimers", interval_timers,
            [&](const Path& at, schema::IntervalTimer::Reader a, schema::IntervalTimer::Reader b) {
              if (a.getTimer() >= b.getTimer()) {
                findings_.in("process.timer", at, "it does not come after the one before it");
              }
            });
  auto posix_timers = process.getPosixTimers();
  each(path / "posixTimers", posix_timers, [&](const Path& at, schema::PosixTimer::Reader timer) {
    switch (timer.getNotify()) {
    case 0: // SIGEV_SIGNAL
    case 4: // SIGEV_THREAD_ID
      signal_number(at / "signal", timer.getSignal(), false);
      break;
    case 1: // SIGEV_NONE
    case 2: // SIGEV_THREAD
      break;
    default:
      beyond("process.timer", at / "notify", to_string(timer.getNotify()) + " is no way to notify");
      break;
    }
  });
  each_pair(path / "posixTimers", posix_timers,
            [&](const Path& at, schema::PosixTimer::Reader a, schema::PosixTimer::Reader b) {
              if (a.getId() >= b.getId()) {
                findings_.in("process.timer", at, "it does not come after the one before it");
              }
            });
  auto limits = process.getResourceLimits();
  each(path / "resourceLimits", limits, [&](const Path& at, schema::ResourceLimit::Reader limit) {
    if (limit.getSoft() > limit.getHard()) {
      findings_.in("process.resource-limit", at, "the soft limit is above the hard one");
    }
  });
  each_pair(path / "resourceLimits", limits,
            [&](const Path& at, schema::ResourceLimit::Reader a, schema::ResourceLimit::Reader b) {
              if (a.getResource() >= b.getResource()) {
                findings_.in("process.resource-limit", at,
                             "it does not come after the one before it");
              }
            });
}

void StateCheck::check_tasks(const Path& path) {
  auto processes = state_.getProcesses();
  auto tasks = state_.getTasks();
  // (process, not leader, tid): the key of the order.
  struct Key {
    std::uint32_t process;
    bool follower;
    std::int32_t tid;
    auto operator<=>(const Key&) const = default;
  };
  std::vector<std::pair<std::int32_t, unsigned>> tids;
  Key previous{};
  bool first = true;
  each(path, tasks, [&](const Path& at, schema::Task::Reader task) {
    const std::uint32_t process = task.getProcess();
    Key key{process, true, task.getTid()};
    if (process < processes.size()) {
      key.follower = processes[process].getPid() != task.getTid();
    }
    if (!first && !(previous < key)) {
      findings_.in("task.order", at,
                   "tid " + to_string(key.tid) + " of process " + to_string(process) +
                       " does not come after the task before it");
    }
    first = false;
    previous = key;
    check_task(at, task);
  });
  for (unsigned i = 0; i < tasks.size(); ++i) {
    tids.emplace_back(tasks[i].getTid(), i);
  }
  std::sort(tids.begin(), tids.end());
  for (std::size_t i = 1; i < tids.size(); ++i) {
    if (tids[i].first == tids[i - 1].first) {
      const Path at = path[tids[i].second];
      findings_.in("task.tid", at / "tid", "tid " + to_string(tids[i].first) + " occurs twice");
    }
  }
}

void StateCheck::check_task(const Path& path, schema::Task::Reader task) {
  if (task.getTid() <= 0) {
    findings_.in("task.tid", path / "tid", "it is " + to_string(task.getTid()));
  }
  refer(processes_, path / "process", task.getProcess(), false);
  refer(spaces_, path / "addressSpace", task.getAddressSpace(), false);
  refer(file_tables_, path / "fileTable", task.getFileTable(), true);
  refer(contexts_, path / "fileSystemContext", task.getFileSystemContext(), true);
  refer(handlers_, path / "signalHandlers", task.getSignalHandlers(), true);
  refer(namespaces_, path / "namespaces", task.getNamespaces(), true);
  if (task.hasCredentials()) {
    check_credentials(path / "credentials", task.getCredentials());
  }
  if (task.hasAttributes()) {
    check_task_attributes(path / "attributes", task.getAttributes());
  }
  if (task.getName().size() > 15) {
    findings_.in("task.name", path / "name",
                 "it has " + to_string(task.getName().size()) + " bytes");
  }
  auto registers = task.getRegisters();
  const std::uint16_t machine = machine_of_space(task.getAddressSpace());
  check_registers(path / "registers", registers, machine);
  if (!has_general_registers(registers)) {
    findings_.in("task.registers", path / "registers", "there is no NT_PRSTATUS");
  }
  if (task.getSignalMask() != kMaskUnknown) {
    check_signal_mask(path / "signalMask", task.getSignalMask());
  }
  if (task.getSavedSignalMask() != kMaskUnknown) {
    check_signal_mask(path / "savedSignalMask", task.getSavedSignalMask());
  }
  each(path / "pendingSignals", task.getPendingSignals(),
       [&](const Path& at, schema::SignalInfo::Reader info) { check_signal_info(at, info); });
  if (task.hasAlternateStack()) {
    auto stack = task.getAlternateStack();
    std::uint64_t end;
    const std::string what = to_string(stack.getSize()) + " bytes at " +
                             to_string(stack.getAddress()) + " with flags " +
                             to_string(stack.getFlags());
    if (((stack.getFlags() & kSsDisable) == 0 && stack.getSize() == 0) ||
        __builtin_add_overflow(stack.getAddress(), stack.getSize(), &end)) {
      findings_.in("task.alternate-stack", path / "alternateStack", what);
    } else if ((stack.getFlags() & ~(kSsOnStack | kSsDisable | kSsAutoDisarm)) != 0) {
      beyond("task.alternate-stack", path / "alternateStack", what);
    }
  }
  if (task.hasRseq() && task.getRseq().getAddress() == 0) {
    findings_.in("task.rseq", path / "rseq", "the address is 0");
  }
  auto areas = task.getThreadAreas();
  if (areas.size() != 0 && machine != kMachine386 && machine != kMachineX86_64) {
    findings_.in("task.thread-area", path / "threadAreas", "only x86 has them");
  }
  each(path / "threadAreas", areas, [&](const Path& at, schema::ThreadArea::Reader area) {
    if (area.getContents() > 3 || (area.getReservedBits() & 0xff) != 0) {
      findings_.in("task.thread-area", at, "contents or reserved bits are out of range");
    }
  });
  each_pair(path / "threadAreas", areas,
            [&](const Path& at, schema::ThreadArea::Reader a, schema::ThreadArea::Reader b) {
              if (a.getEntryNumber() >= b.getEntryNumber()) {
                findings_.in("task.thread-area", at, "it does not come after the one before it");
              }
            });
  signal_number(path / "parentDeathSignal", task.getParentDeathSignal(), true);
}

bool StateCheck::has_general_registers(List<schema::RegisterSet> sets) {
  for (const schema::RegisterSet::Reader set : sets) {
    if (set.getNoteType() == kNotePrstatus) {
      return true;
    }
  }
  return false;
}

void StateCheck::check_registers(const Path& path, List<schema::RegisterSet> sets,
                                 std::uint16_t machine) {
  each(path, sets, [&](const Path& at, schema::RegisterSet::Reader set) {
    auto data = set.getData();
    const RegisterSetSize size = judge_register_set(machine, set.getNoteType(), data.size());
    const std::string what =
        "note type " + to_string(set.getNoteType()) + " with " + to_string(data.size()) + " bytes";
    if (size == RegisterSetSize::kImpossible) {
      findings_.in("registers.size", at, what);
    } else if (size == RegisterSetSize::kLonger) {
      beyond("registers.size", at, what);
    } else if (size == RegisterSetSize::kFits && set.getNoteType() == kNoteX86Xstate) {
      check_xsave(at, data);
    }
  });
  each_pair(path, sets,
            [&](const Path& at, schema::RegisterSet::Reader a, schema::RegisterSet::Reader b) {
              if (a.getNoteType() >= b.getNoteType()) {
                findings_.in("registers.order", at,
                             "note type " + to_string(b.getNoteType()) + " after " +
                                 to_string(a.getNoteType()));
              }
            });
}

void StateCheck::check_xsave(const Path& path, capnp::Data::Reader data) {
  const auto in_use = load<std::uint64_t>(data, 512); // XSTATE_BV
  if (load<std::uint64_t>(data, 520) != 0) {          // XCOMP_BV
    findings_.in("registers.xsave", path, "the area is compacted (XCOMP_BV is not 0)");
    return;
  }
  if (!has_cpu_) {
    if (!cpu_missing_reported_) {
      cpu_missing_reported_ = true;
      findings_.in("cpu.missing", "state.cpu", "tasks have XSAVE areas, but cpu is absent");
    }
    return;
  }
  if ((in_use & ~xsave_features_) != 0) {
    findings_.in("registers.xsave-features", path,
                 "components " + to_string(in_use) + " (XSTATE_BV) are not all in " +
                     to_string(xsave_features_));
  }
  for (auto component : xsave_layout_) {
    if (component.getNumber() < 63 && (in_use >> component.getNumber() & 1) != 0 &&
        std::uint64_t{component.getOffset()} + component.getSize() > data.size()) {
      findings_.in("registers.xsave", path,
                   "component " + to_string(component.getNumber()) +
                       " is in use but lies beyond the " + to_string(data.size()) + " bytes");
    }
  }
}

void StateCheck::check_signal_handlers(const Path& path) {
  each(path, state_.getSignalHandlerTables(),
       [&](const Path& at, schema::SignalHandlerTable::Reader table) {
         auto actions = table.getActions();
         each(at / "actions", actions, [&](const Path& entry, schema::SignalAction::Reader action) {
           signal_number(entry / "signal", action.getSignal(), false);
           if (action.getHandler() == 0 && action.getFlags() == 0 && action.getMask() == 0 &&
               action.getRestorer() == 0) {
             findings_.in("signal-action.default", entry, "it equals the default");
           }
           if (action.getSignal() == 9 || action.getSignal() == 19) {
             findings_.in("signal-action.fixed", entry,
                          "signal " + to_string(action.getSignal()) + " cannot have an action");
           }
           if ((action.getFlags() & kSaRestorer) == 0 && action.getRestorer() != 0) {
             findings_.in("signal-action.restorer", entry, "SA_RESTORER is not set");
           }
         });
         each_pair(at / "actions", actions,
                   [&](const Path& entry, schema::SignalAction::Reader a,
                       schema::SignalAction::Reader b) {
                     if (a.getSignal() >= b.getSignal()) {
                       findings_.in("signal-action.order", entry,
                                    "signal " + to_string(b.getSignal()) + " after " +
                                        to_string(a.getSignal()));
                     }
                   });
       });
}

void StateCheck::check_signal_mask(const Path& path, std::uint64_t mask) {
  if ((mask & kUnblockable) != 0) {
    findings_.in("signal.mask", path, "SIGKILL or SIGSTOP is in it");
  }
}

void StateCheck::check_signal_info(const Path& path, schema::SignalInfo::Reader info) {
  signal_number(path / "signal", info.getSignal(), false);
  auto raw = info.getRaw();
  const auto number = [&] {
    const auto bytes = load<std::uint32_t>(raw, 0);
    return static_cast<std::int32_t>(
        state_.getDataEncoding() == kBigEndian ? __builtin_bswap32(bytes) : bytes);
  };
  if (raw.size() != 0 && (raw.size() != 128 || number() != info.getSignal())) {
    findings_.in("signal.raw", path / "raw",
                 "it has " + to_string(raw.size()) + " bytes or names another signal");
  }
}

} // namespace rrpcp
