// What rr keeps beside the model's structs (spec/rr.md).
#include "model/state_check.h"

#include <string>

namespace rrpcp {

using schema::rr::FileMonitor;
using std::to_string;

namespace {

// The arm of the union that a kind of monitor uses.
FileMonitor::Which arm_of(FileMonitor::Kind kind) {
  using Kind = FileMonitor::Kind;
  switch (kind) {
  case Kind::MMAPPED:
    return FileMonitor::MMAPPED;
  case Kind::PROC_FD:
    return FileMonitor::PROC_FD;
  case Kind::PROC_MEM:
    return FileMonitor::PROC_MEM;
  case Kind::STDIO:
    return FileMonitor::STDIO;
  case Kind::VIRTUAL_PERF_COUNTER:
    return FileMonitor::VIRTUAL_PERF_COUNTER;
  case Kind::PROC_STAT:
    return FileMonitor::PROC_STAT;
  case Kind::BPF_MAP:
    return FileMonitor::BPF_MAP;
  case Kind::PID_FD:
    return FileMonitor::PID_FD;
  default:
    return FileMonitor::PLAIN;
  }
}

} // namespace

void StateCheck::check_rr_session(const Path& path, schema::rr::SessionState::Reader session) {
  if (session.hasCurrentStep()) {
    const Path at = path / "currentStep";
    auto step = session.getCurrentStep();
    signal_number(at / "signal", step.getSignal(), true);
    if (step.getSystemCall() < -1 || step.getTargetTicks() < -1) {
      findings_.in("rr.step", at, "a system call or a number of ticks is below -1");
    }
  }
  auto files = session.getMappedFiles();
  each_pair(
      path / "mappedFiles", files,
      [&](const Path& at, schema::rr::MappedFile::Reader a, schema::rr::MappedFile::Reader b) {
        if (std::pair(a.getDevice(), a.getInode()) >= std::pair(b.getDevice(), b.getInode())) {
          findings_.in("rr.mapped-files", at, "it does not come after the one before it");
        }
      });
}

void StateCheck::check_rr_space(const Path& path, schema::rr::SpaceState::Reader space) {
  std::uint64_t end = 0;
  each(path / "savedMemory", space.getSavedMemory(),
       [&](const Path& at, schema::rr::SavedMemory::Reader saved) {
         std::uint64_t next;
         if (saved.getData().size() == 0 || saved.getAddress() < end ||
             __builtin_add_overflow(saved.getAddress(), saved.getData().size(), &next)) {
           findings_.in("rr.saved-memory", at,
                        to_string(saved.getData().size()) + " bytes at " +
                            to_string(saved.getAddress()));
           return;
         }
         end = next;
       });
}

void StateCheck::check_rr_mapping(const Path& path, schema::Mapping::Reader mapping) {
  auto rr = mapping.getRr();
  if (rr.getUse() != schema::rr::MappingUse::NONE &&
      mapping.getRole() != schema::MappingRole::REPLAYER) {
    findings_.in("rr.mapping-use", path / "use", "the mapping has not the role of rr's own");
  }
}

void StateCheck::check_rr_file_table(const Path& path, schema::rr::FileTableState::Reader table) {
  auto monitors = table.getMonitors();
  if (table.getMonitorsUnknown() && monitors.size() != 0) {
    findings_.in("rr.monitors-unknown", path / "monitors",
                 "monitorsUnknown says that none is known");
  }
  each(path / "monitors", monitors,
       [&](const Path& entry, FileMonitor::Reader monitor) { check_rr_monitor(entry, monitor); });
  each_pair(path / "monitors", monitors,
            [&](const Path& entry, FileMonitor::Reader a, FileMonitor::Reader b) {
              if (a.getFd() >= b.getFd()) {
                findings_.in("rr.monitor-order", entry,
                             to_string(b.getFd()) + " after " + to_string(a.getFd()));
              }
            });
}

void StateCheck::check_rr_monitor(const Path& path, schema::rr::FileMonitor::Reader monitor) {
  using Kind = FileMonitor::Kind;
  if (monitor.getKind() < Kind::OTHER && monitor.which() != FileMonitor::PLAIN &&
      monitor.which() <= FileMonitor::VIRTUAL_PERF_COUNTER &&
      monitor.which() != arm_of(monitor.getKind())) {
    findings_.in("rr.monitor-kind", path,
                 "kind " + to_string(static_cast<unsigned>(monitor.getKind())) +
                     " with union arm " + to_string(static_cast<unsigned>(monitor.which())));
  }
}

} // namespace rrpcp
