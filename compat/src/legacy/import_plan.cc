#include "base/hex.h"
#include "legacy/findings.h"
#include "legacy/import_state.h"
#include "legacy/page_file.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace rrpcp::compat {

namespace {

using RrMapping = legacy::rr2024::KernelMapping;

bool needs_object(RrMapping::Reader mapping) {
  const auto flags = static_cast<std::uint32_t>(mapping.getFlags());
  switch (arm_of(mapping)) {
  case Arm::kGuardSegment:
    return false;
  case Arm::kFile:
    return true;
  case Arm::kRrPage:
    return is_shared(flags) || (flags & kMapAnonymous) == 0;
  default:
    return is_shared(flags);
  }
}

// The trace's last record, not after the event, of the file that a mapping shows.
const RrTraceMapping* find_record(const LegacyCheckpoint::Impl& legacy, RrMapping::Reader mapping,
                                  std::int64_t event) {
  const std::string_view name = text(mapping.getFsname());
  const RrTraceMapping* found = nullptr;
  for (const RrTraceMapping& record : legacy.context->mappings()) {
    if (record.event <= event && record.name == name && record.inode == mapping.getInode() &&
        (record.source == RrTraceMapping::Source::kFile || found == nullptr)) {
      found = &record;
    }
  }
  return found;
}

class Planner {
public:
  explicit Planner(const LegacyCheckpoint::Impl& legacy) : legacy_(legacy) {}

  ImportPlan run() {
    const auto spaces = legacy_.message.root().getCloneCompletion().getAddressSpaces();
    for (unsigned s = 0; s < spaces.size(); ++s) {
      const auto mappings = spaces[s].getProcessSpace().getVirtualAddressSpace();
      std::vector<std::uint32_t>& order = plan_.order.emplace_back(mappings.size());
      std::iota(order.begin(), order.end(), 0U);
      std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
        return mappings[a].getStart() < mappings[b].getStart();
      });
      plan_.object.emplace_back(mappings.size(), schema::NO_INDEX);
      for (const std::uint32_t m : order) {
        if (needs_object(mappings[m])) {
          plan_.object[s][m] = place(mappings[m], s, m);
        }
      }
    }
    return std::move(plan_);
  }

private:
  // The object that a mapping shows: one of those planned, or a new one.
  std::uint32_t place(RrMapping::Reader mapping, std::uint32_t space, std::uint32_t index) {
    PlannedObject wanted;
    wanted.shared = is_shared(static_cast<std::uint32_t>(mapping.getFlags()));
    const Arm arm = arm_of(mapping);
    wanted.system_v = arm == Arm::kSharedSystemV;
    wanted.replayers = arm == Arm::kRrPage || arm == Arm::kSyscallBuffer;
    wanted.device = mapping.getDevice();
    wanted.inode = mapping.getInode();
    wanted.name = std::string(text(mapping.getFsname()));
    PlannedObject::Part part{space, index, mapping.getOffset(),
                             mapping.getEnd() - mapping.getStart()};
    for (std::uint32_t o = 0; o < plan_.objects.size(); ++o) {
      PlannedObject& object = plan_.objects[o];
      if (object.shared != wanted.shared || object.system_v != wanted.system_v ||
          (wanted.shared && object.replayers != wanted.replayers) ||
          object.device != wanted.device || object.inode != wanted.inode ||
          object.name != wanted.name) {
        continue;
      }
      if (wanted.shared && !agrees(object, part)) {
        ++wanted.variant;
        continue;
      }
      add(object, part);
      return o;
    }
    if (wanted.variant != 0) {
      plan_.differences.push_back("'" + wanted.name + "' at " + hex_text(mapping.getStart()) +
                                  " of address space " + std::to_string(space) +
                                  " differs from what another process has of it");
    }
    wanted.record = find_record(legacy_, mapping, legacy_.message.clone_mark().getTime());
    plan_.objects.push_back(std::move(wanted));
    add(plan_.objects.back(), part);
    return static_cast<std::uint32_t>(plan_.objects.size() - 1);
  }

  static void add(PlannedObject& object, const PlannedObject::Part& part) {
    object.parts.push_back(part);
    object.length = std::max(object.length, part.offset + part.length);
  }

  // Whether the contents of `part` are those that the object has in the same place.
  bool agrees(const PlannedObject& object, const PlannedObject::Part& part) const {
    std::vector<std::byte> left(kReadBytes);
    std::vector<std::byte> right(kReadBytes);
    for (const PlannedObject::Part& other : object.parts) {
      const std::uint64_t begin = std::max(part.offset, other.offset);
      const std::uint64_t end = std::min(part.offset + part.length, other.offset + other.length);
      if (begin >= end) {
        continue;
      }
      const PageFile mine(legacy_, part.space, part.mapping);
      const PageFile theirs(legacy_, other.space, other.mapping);
      for (std::uint64_t at = begin; at < end; at += kReadBytes) {
        const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(kReadBytes, end - at));
        mine.read(at - part.offset, std::span(left).first(count));
        theirs.read(at - other.offset, std::span(right).first(count));
        if (std::memcmp(left.data(), right.data(), count) != 0) {
          return false;
        }
      }
    }
    return true;
  }

  const LegacyCheckpoint::Impl& legacy_;
  ImportPlan plan_;
};

} // namespace

Arm arm_of(RrMapping::Reader mapping) {
  const auto type = mapping.getMapType();
  switch (type.which()) {
  case RrMapping::MapType::FILE:
    return Arm::kFile;
  case RrMapping::MapType::GUARD_SEGMENT:
    return Arm::kGuardSegment;
  case RrMapping::MapType::SHARED_ANON:
    return type.getSharedAnon().getIsSysVSegment() ? Arm::kSharedSystemV : Arm::kSharedAnon;
  case RrMapping::MapType::PRIVATE_ANON:
    return Arm::kPrivateAnon;
  case RrMapping::MapType::SYSCALL_BUFFER:
    return Arm::kSyscallBuffer;
  case RrMapping::MapType::RR_PAGE:
    return Arm::kRrPage;
  }
  throw Error(ErrorCode::kDamaged, "a mapping is of a kind that rr does not have");
}

Arm implied_arm(schema::Mapping::Reader mapping, bool object_is_system_v) {
  switch (mapping.getRole()) {
  case schema::MappingRole::GUARD:
    return Arm::kGuardSegment;
  default:
    break;
  }
  switch (mapping.getRr().getUse()) {
  case schema::rr::MappingUse::SYSCALL_BUFFER:
    return Arm::kSyscallBuffer;
  case schema::rr::MappingUse::RR_PAGE:
  case schema::rr::MappingUse::THREAD_LOCALS:
    return Arm::kRrPage;
  default:
    break;
  }
  if (is_shared(mapping.getFlags())) {
    return object_is_system_v ? Arm::kSharedSystemV : Arm::kSharedAnon;
  }
  return (mapping.getFlags() & kMapAnonymous) != 0 ? Arm::kPrivateAnon : Arm::kFile;
}

ImportPlan plan_import(const LegacyCheckpoint::Impl& legacy) {
  return Planner(legacy).run();
}

} // namespace rrpcp::compat
