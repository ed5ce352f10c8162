#include "legacy/invariants.h"

#include "base/file.h"
#include "base/hex.h"
#include "legacy/findings.h"
#include "legacy/machine.h"

#include <algorithm>
#include <map>
#include <set>

namespace rrpcp::compat {

namespace {

constexpr std::size_t kMaxViolations = 20;
// Counts that no real checkpoint comes near; they only keep nonsense from being worked on.
constexpr std::uint32_t kMaxSpaces = 1 << 16;
constexpr std::uint32_t kMaxMappings = 1 << 22;
constexpr std::uint32_t kMaxTasks = 1 << 20;
constexpr std::uint64_t kProtectionBits = 0x0300000f; // PROT_* of mmap(2) and mprotect(2)

void check_registers(legacy::RawBytes::Reader registers, legacy::Machine machine,
                     const std::string& name, std::vector<std::string>& violations) {
  const std::size_t expected = register_record_size(elf_machine(machine));
  const std::size_t size = registers.getRaw().size();
  if (expected == 0) {
    violations.push_back(name + " is of an unknown machine");
  } else if (size != expected) {
    violations.push_back(name + " has " + std::to_string(size) + " bytes of registers instead of " +
                         std::to_string(expected));
  }
}

void check_task(legacy::CapturedState::Reader task, legacy::Machine machine,
                const std::string& name, std::set<std::int32_t>& seen,
                std::vector<std::string>& violations) {
  if (task.getRecTid() <= 0) {
    violations.push_back(name + " has the id " + std::to_string(task.getRecTid()));
  }
  if (task.getTguid().getTid() <= 0) {
    violations.push_back(name + " belongs to process " + std::to_string(task.getTguid().getTid()));
  }
  if (task.getTicks() < 0) {
    violations.push_back(name + " has negative ticks");
  }
  if (!seen.insert(task.getRecTid()).second) {
    violations.push_back(name + " has an id that another task has");
  }
  check_registers(task.getRegs(), machine, name, violations);
  for (const auto area : task.getThreadAreas()) {
    if (area.size() != 16) {
      violations.push_back(name + " has a thread area of " + std::to_string(area.size()) +
                           " bytes instead of 16");
      break;
    }
  }
}

void check_mapping(legacy::rr2024::KernelMapping::Reader mapping, const std::string& name,
                   const Expectations& expected, std::vector<std::string>& violations) {
  const std::uint64_t mask = expected.page_size - 1;
  if (mapping.getStart() >= mapping.getEnd() || (mapping.getStart() & mask) != 0 ||
      (mapping.getEnd() & mask) != 0) {
    violations.push_back(name + " goes from " + hex_text(mapping.getStart()) + " to " +
                         hex_text(mapping.getEnd()));
    return;
  }
  if ((mapping.getOffset() & mask) != 0) {
    violations.push_back(name + " has the offset " + hex_text(mapping.getOffset()));
  }
  if ((static_cast<std::uint32_t>(mapping.getProtection()) & ~kProtectionBits) != 0) {
    violations.push_back(name + " has the protection " + std::to_string(mapping.getProtection()));
  }
  if (mapping.getMapType().isGuardSegment()) {
    return;
  }
  const std::string_view path = text(contents_path(mapping));
  if (path.empty()) {
    violations.push_back(name + " has no page file");
  } else if (path.front() != '/' || path.find('\0') != std::string_view::npos) {
    violations.push_back(name + " has a page file without an absolute path");
  }
}

void check_space(legacy::rr2024::AddressSpaceClone::Reader space, const std::string& name,
                 const Expectations& expected, std::set<std::int32_t>& seen,
                 std::vector<std::string>& violations) {
  const auto mappings = space.getProcessSpace().getVirtualAddressSpace();
  if (mappings.size() == 0) {
    violations.push_back(name + " has no mapping");
  }
  if (mappings.size() > kMaxMappings) {
    violations.push_back(name + " has " + std::to_string(mappings.size()) + " mappings");
    return;
  }
  std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges;
  ranges.reserve(mappings.size());
  for (unsigned m = 0; m < mappings.size() && violations.size() < kMaxViolations; ++m) {
    check_mapping(mappings[m], name + " mapping " + std::to_string(m), expected, violations);
    ranges.emplace_back(mappings[m].getStart(), mappings[m].getEnd());
  }
  std::sort(ranges.begin(), ranges.end());
  for (std::size_t r = 1; r < ranges.size(); ++r) {
    if (ranges[r].first < ranges[r - 1].second) {
      violations.push_back(name + " has mappings that overlap at " + hex_text(ranges[r].first));
      break;
    }
  }
  if (space.getMemberState().size() > kMaxTasks) {
    violations.push_back(name + " has " + std::to_string(space.getMemberState().size()) + " tasks");
    return;
  }
  check_task(space.getCloneLeaderState(), space.getArch(), name + " first task", seen, violations);
  unsigned number = 1;
  for (const auto member : space.getMemberState()) {
    check_task(member, space.getArch(), name + " task " + std::to_string(number++), seen,
               violations);
    if (violations.size() >= kMaxViolations) {
      return;
    }
  }
}

// The event at which a thread group first ran is told with the address space of its first task. A
// group has one space; where two claim it, they must at least agree.
void check_first_events(capnp::List<legacy::rr2024::AddressSpaceClone>::Reader spaces,
                        std::vector<std::string>& violations) {
  std::map<std::pair<std::int32_t, std::uint32_t>, std::int64_t> events;
  for (const auto space : spaces) {
    const auto group = space.getCloneLeaderState().getTguid();
    const std::int64_t event = space.getProcessSpace().getTaskFirstRunEvent();
    if (event < 0) {
      violations.push_back("process " + std::to_string(group.getTid()) + " first ran at event " +
                           std::to_string(event));
    }
    const auto [known, added] = events.emplace(std::pair(group.getTid(), group.getSerial()), event);
    if (!added && known->second != event) {
      violations.push_back("process " + std::to_string(group.getTid()) + " first ran at event " +
                           std::to_string(known->second) + " and at event " +
                           std::to_string(event));
    }
  }
}

} // namespace

void check_mark(legacy::MarkData::Reader mark, const std::string& name,
                std::vector<std::string>& violations) {
  if (mark.getTime() <= 0) {
    violations.push_back(name + " is at event " + std::to_string(mark.getTime()));
  }
  if (mark.getTicks() < 0 || mark.getTicksAtEventStart() < 0) {
    violations.push_back(name + " has ticks " + std::to_string(mark.getTicks()) + ", and had " +
                         std::to_string(mark.getTicksAtEventStart()) + " when its event began");
  }
  if (mark.getStepKey() < 0 || mark.getStepKey() > 64) {
    violations.push_back(name + " has the step key " + std::to_string(mark.getStepKey()));
  }
  check_registers(mark.getRegs(), mark.getArch(), name, violations);
}

std::vector<std::string> check_message(const LegacyMessage& message, const Expectations& expected) {
  std::vector<std::string> violations;
  const auto info = message.root();
  if (info.isExplicit()) {
    check_mark(info.getExplicit(), "its mark", violations);
  } else {
    const auto marks = info.getNonExplicit();
    check_mark(marks.getCloneMark(), "its clone mark", violations);
    check_mark(marks.getCheckpointMark(), "its checkpoint mark", violations);
    if (marks.getCheckpointMark().getTime() < marks.getCloneMark().getTime()) {
      violations.emplace_back("its mark lies before the clone that leads to it");
    }
  }
  const auto spaces = info.getCloneCompletion().getAddressSpaces();
  if (spaces.size() == 0) {
    violations.emplace_back("it has no address space");
  }
  if (spaces.size() > kMaxSpaces) {
    violations.push_back("it has " + std::to_string(spaces.size()) + " address spaces");
    return violations;
  }
  std::set<std::int32_t> seen;
  for (unsigned s = 0; s < spaces.size() && violations.size() < kMaxViolations; ++s) {
    check_space(spaces[s], "address space " + std::to_string(s), expected, seen, violations);
  }
  check_first_events(spaces, violations);
  if (violations.size() > kMaxViolations) {
    violations.resize(kMaxViolations);
  }
  return violations;
}

std::string join_violations(const std::vector<std::string>& violations) {
  std::string joined;
  for (const std::string& violation : violations) {
    joined += joined.empty() ? violation : "; " + violation;
  }
  return joined;
}

} // namespace rrpcp::compat
