// Address spaces, mappings, runs, memory objects.
#include "base/bytes.h"
#include "base/hex.h"
#include "model/register_sets.h"
#include "model/state_check.h"
#include "rrpcp/page_run.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace rrpcp {

using std::to_string;

namespace {

constexpr std::uint32_t kMapShared = 1, kMapPrivate = 2, kMapAnonymous = 0x20;
constexpr std::uint32_t kMapHugetlb = 0x40000, kHugetlbSize = 0xfc000000;
// GROWSDOWN, LOCKED, NORESERVE, STACK, SYNC (asm-generic/mman.h; the same on x86 and AArch64).
constexpr std::uint32_t kMapKept = 0x100 | 0x2000 | 0x4000 | 0x20000 | 0x80000;
constexpr std::uint32_t kAdviceHuge = 1u << 3, kAdviceNoHuge = 1u << 4, kAdviceAll = (1u << 8) - 1;
constexpr std::uint32_t kAdviceSequential = 1u << 6, kAdviceRandom = 1u << 7;
constexpr std::uint32_t kMapLocked = 0x2000;
constexpr std::uint32_t kUserFaultModes = 7; // linux/userfaultfd.h UFFDIO_REGISTER_MODE_*
constexpr std::uint32_t kSealsAll = 0x3f;    // F_SEAL_SEAL to F_SEAL_EXEC

// What the kernel has on a machine: protection bits (asm/mman.h) that a file of this version may
// have, and the highest memory protection key. PROT_MTE is not among them: there is no place for
// the tags of such memory.
struct MemoryRules {
  std::uint16_t machine;
  std::uint32_t protection;
  std::uint16_t highest_key;
};
constexpr std::uint32_t kProtBase = 7, kProtBti = 0x10;
constexpr MemoryRules kMemoryRules[] = {
    {kMachine386, kProtBase, 15},
    {kMachineX86_64, kProtBase, 15},
    {kMachineAarch64, kProtBase | kProtBti, 7},
};

const MemoryRules* memory_rules(std::uint16_t machine) {
  for (const MemoryRules& rules : kMemoryRules) {
    if (rules.machine == machine) {
      return &rules;
    }
  }
  return nullptr;
}

// Whether runs give a mapping contents that are not its object's.
bool have_own_contents(capnp::List<schema::PageRun>::Reader runs) {
  for (const schema::PageRun::Reader run : runs) {
    if (run.getKind() == schema::RunKind::ZERO || is_of_stream(run.getKind())) {
      return true;
    }
  }
  return false;
}

bool is_kernel_page(schema::MappingRole role) {
  return role == schema::MappingRole::VVAR || role == schema::MappingRole::VSYSCALL;
}

} // namespace

void StateCheck::check_address_spaces(const Path& path) {
  each(path, state_.getAddressSpaces(),
       [&](const Path& at, schema::AddressSpace::Reader space) { check_address_space(at, space); });
}

void StateCheck::check_address_space(const Path& path, schema::AddressSpace::Reader space) {
  const std::uint16_t machine = space.getMachine() != 0 ? space.getMachine() : machine_;
  if (space.getElfClass() > 2) {
    findings_.in("state.elf-class", path / "elfClass",
                 "it is " + to_string(static_cast<unsigned>(space.getElfClass())));
  }
  auto mappings = space.getMappings();
  unsigned stacks = 0;
  each(path / "mappings", mappings, [&](const Path& at, schema::Mapping::Reader mapping) {
    check_mapping(at, mapping, machine);
    stacks += mapping.getRole() == schema::MappingRole::STACK ? 1 : 0;
  });
  if (stacks > 1) {
    findings_.in("space.stack", path / "mappings", to_string(stacks) + " mappings are the stack");
  }
  each_pair(path / "mappings", mappings,
            [&](const Path& at, schema::Mapping::Reader a, schema::Mapping::Reader b) {
              if (b.getStart() < a.getStart()) {
                findings_.in("mapping.order", at,
                             hex_text(b.getStart()) + " after " + hex_text(a.getStart()));
              } else if (b.getStart() < a.getEnd()) {
                findings_.in("mapping.overlap", at,
                             "it begins at " + hex_text(b.getStart()) +
                                 ", before the one before it ends at " + hex_text(a.getEnd()));
              }
            });
  if (space.hasAttributes()) {
    check_space_attributes(path / "attributes", space.getAttributes());
  }
  if (space.hasLayout()) {
    auto layout = space.getLayout();
    const Path at = path / "layout";
    auto area = [&](const char* name, std::uint64_t start, std::uint64_t end) {
      if (end < start) {
        findings_.in("space.layout", at / name, hex_text(start) + " to " + hex_text(end));
      }
    };
    area("endCode", layout.getStartCode(), layout.getEndCode());
    area("endData", layout.getStartData(), layout.getEndData());
    area("brk", layout.getStartBrk(), layout.getBrk());
    area("argEnd", layout.getArgStart(), layout.getArgEnd());
    area("envEnd", layout.getEnvStart(), layout.getEnvEnd());
  }
  each(path / "auxv", space.getAuxv(), [&](const Path& at, schema::AuxiliaryEntry::Reader entry) {
    if (entry.getType() == 0) {
      findings_.in("space.auxv", at, "AT_NULL is not stored");
    }
  });
  refer(objects_, path / "executable", space.getExecutable(), true);
  if (space.getExecutable() < objects_.size() &&
      state_.getMemoryObjects()[space.getExecutable()].which() != schema::MemoryObject::FILE) {
    findings_.in("space.executable", path / "executable", "the object is not a file");
  }
  if (space.hasRr()) {
    check_rr_space(path / "rr", space.getRr());
  }
}

void StateCheck::check_mapping(const Path& path, schema::Mapping::Reader mapping,
                               std::uint16_t machine) {
  const std::uint64_t page_size = rules_.page_size;
  const std::uint64_t start = mapping.getStart(), end = mapping.getEnd();
  const bool range = start < end && start % page_size == 0 && end % page_size == 0;
  if (!range) {
    findings_.in("mapping.range", path, hex_text(start) + " to " + hex_text(end));
  }
  const std::uint32_t flags = mapping.getFlags();
  const bool shared = (flags & 3) == kMapShared, is_private = (flags & 3) == kMapPrivate;
  // Of a machine that this program does not know, bits are kept and not judged.
  const MemoryRules* rules = memory_rules(machine);
  if (rules != nullptr) {
    if ((mapping.getProtection() & ~rules->protection) != 0) {
      beyond("mapping.protection", path / "protection", hex_text(mapping.getProtection()));
    }
    std::uint32_t allowed = 3 | kMapAnonymous | kMapKept | kMapHugetlb;
    allowed |= (flags & kMapHugetlb) != 0 ? kHugetlbSize : 0;
    if ((flags & ~allowed) != 0) {
      beyond("mapping.flags", path / "flags", hex_text(flags));
    }
    if (mapping.getPkey() > rules->highest_key) {
      beyond("mapping.pkey", path / "pkey", to_string(mapping.getPkey()));
    }
  }
  const std::uint32_t maximum = mapping.getMaximumProtection();
  if (maximum != 0 && (mapping.getProtection() & ~maximum) != 0) {
    findings_.in("mapping.protection", path / "maximumProtection", hex_text(maximum));
  } else if (rules != nullptr && (maximum & ~rules->protection) != 0) {
    beyond("mapping.protection", path / "maximumProtection", hex_text(maximum));
  }
  if (!shared && !is_private) {
    findings_.in("mapping.flags", path / "flags", hex_text(flags));
  }
  const std::uint32_t advice = mapping.getAdvice();
  auto both = [&](std::uint32_t a, std::uint32_t b) {
    return (advice & a) != 0 && (advice & b) != 0;
  };
  if (both(kAdviceHuge, kAdviceNoHuge) || both(kAdviceSequential, kAdviceRandom)) {
    findings_.in("mapping.advice", path / "advice", hex_text(advice));
  } else if ((advice & ~kAdviceAll) != 0) {
    beyond("mapping.advice", path / "advice", hex_text(advice));
  }
  if (mapping.hasRr()) {
    check_rr_mapping(path / "rr", mapping);
  }
  if (mapping.getLockedOnFault() && rules != nullptr && (flags & kMapLocked) == 0) {
    findings_.in("mapping.attributes", path / "lockedOnFault", "the mapping is not locked");
  }
  if (mapping.getDroppable() &&
      (!is_private || (rules != nullptr && (flags & kMapAnonymous) == 0))) {
    findings_.in("mapping.attributes", path / "droppable", "it is no private anonymous memory");
  }
  if ((mapping.getUserFaults() & ~kUserFaultModes) != 0) {
    beyond("mapping.attributes", path / "userFaults", hex_text(mapping.getUserFaults()));
  }
  if (const char* fault = fault_of(mapping.getMemoryPolicy()); *fault != 0) {
    findings_.in("mapping.attributes", path / "memoryPolicy", fault);
  }

  const std::uint32_t object = mapping.getObject();
  refer(objects_, path / "object", object, true);
  const bool has_object = object != schema::NO_INDEX;
  if (shared && !has_object && !is_kernel_page(mapping.getRole())) {
    findings_.in("mapping.object", path / "object", "a shared mapping needs an object");
  }
  if (rules != nullptr && is_private && (flags & kMapAnonymous) != 0 && has_object) {
    findings_.in("mapping.object", path / "object", "a private anonymous mapping has no object");
  }
  std::uint64_t offset_end;
  if (mapping.getObjectOffset() % page_size != 0 ||
      (!has_object && mapping.getObjectOffset() != 0) ||
      (range && __builtin_add_overflow(mapping.getObjectOffset(), end - start, &offset_end))) {
    findings_.in("mapping.object-offset", path / "objectOffset",
                 hex_text(mapping.getObjectOffset()));
  }

  auto runs = mapping.getRuns();
  if (shared && !is_kernel_page(mapping.getRole()) && have_own_contents(runs)) {
    findings_.in("mapping.shared", path / "runs", "the object has the contents");
  }
  check_role(path, mapping, is_private);
  if (!range) {
    return;
  }
  RangeSet* backing = object < backing_.size() && is_private ? &backing_[object] : nullptr;
  if (runs.size() == 0) {
    if (backing != nullptr) {
      backing->add(mapping.getObjectOffset(), mapping.getObjectOffset() + (end - start));
    }
    return;
  }
  check_runs(path / "runs", runs, (end - start) / page_size, has_object, mapping.getObjectOffset(),
             backing, true);
  const auto plain = has_object ? schema::RunKind::BACKING : schema::RunKind::ZERO;
  if (runs.size() == 1 && runs[0].getKind() == plain) {
    findings_.in("run.default", path / "runs", "without runs the mapping reads the same");
  }
}

void StateCheck::check_role(const Path& path, schema::Mapping::Reader mapping, bool is_private) {
  const bool has_object = mapping.getObject() != schema::NO_INDEX;
  auto runs = mapping.getRuns();
  switch (mapping.getRole()) {
  case schema::MappingRole::VVAR:
  case schema::MappingRole::VSYSCALL:
    if (runs.size() != 1 || runs[0].getKind() != schema::RunKind::UNKNOWN) {
      findings_.in("mapping.role", path / "runs",
                   "the kernel provides the contents of this page: they are one run, unknown");
    }
    break;
  case schema::MappingRole::GUARD:
    if (!is_private || mapping.getProtection() != 0 || has_object || runs.size() != 0) {
      findings_.in("mapping.role", path / "role",
                   "a guard is private, anonymous, inaccessible and without contents");
    }
    break;
  case schema::MappingRole::SHADOW_STACK:
    if (!is_private || has_object) {
      findings_.in("mapping.role", path / "role", "a shadow stack is private and anonymous");
    }
    break;
  default:
    break;
  }
}

void StateCheck::check_runs(const Path& path, List<schema::PageRun> runs, std::uint64_t pages,
                            bool has_backing, std::uint64_t backing_offset, RangeSet* backing,
                            bool guards) {
  std::uint64_t covered = 0;
  bool overflow = false;
  bool has_previous = false;
  schema::RunKind previous_kind{};
  std::uint32_t previous_source = 0;
  std::uint64_t previous_end = 0;
  // Kinds beyond are unknown in the file's version, and not judged here.
  const auto last_known =
      rules_.minor >= format::kMinorOfBaseRuns ? schema::RunKind::BASE : schema::RunKind::GUARD;
  each(path, runs, [&](const Path& at, schema::PageRun::Reader run) {
    const std::uint64_t count = run.getPages();
    const auto kind = run.getKind();
    std::uint64_t end = 0;
    const bool wraps = __builtin_add_overflow(run.getFirst(), count, &end);
    if (count == 0) {
      findings_.in("run.empty", at, "it has no pages");
    }
    switch (kind) {
    case schema::RunKind::STREAM:
      if (wraps || end > rules_.page_count) {
        findings_.in("run.stream", at,
                     to_string(count) + " pages from " + to_string(run.getFirst()) +
                         " on, where the stream has " + to_string(rules_.page_count));
      } else {
        stream_.add(run.getFirst(), end);
      }
      break;
    case schema::RunKind::BACKING:
      if (!has_backing) {
        findings_.in("run.backing", at, "there is nothing behind");
      } else if (backing != nullptr && !overflow && count <= pages - std::min(pages, covered)) {
        std::uint64_t begin = backing_offset + covered * rules_.page_size;
        backing->add(begin, begin + count * rules_.page_size);
      }
      break;
    case schema::RunKind::GUARD:
      if (!guards) {
        findings_.in("run.guard", at, "guard pages belong to a mapping, not to what it shows");
      }
      break;
    case schema::RunKind::BASE:
      if (kind <= last_known) {
        check_base_run(at, run, wraps, end);
      }
      break;
    default:
      break;
    }
    if ((run.getSource() != 0 && kind != schema::RunKind::BASE) ||
        (!is_of_stream(kind) && run.getFirst() != 0)) {
      if (kind <= last_known) {
        findings_.in("run.fields", at, "first or source has a value");
      }
    }
    if (has_previous && kind == previous_kind && kind <= last_known &&
        run.getSource() == previous_source &&
        (!is_of_stream(kind) || run.getFirst() == previous_end)) {
      findings_.in("run.join", at, "it continues the run before it");
    }
    has_previous = true;
    previous_kind = kind;
    previous_source = run.getSource();
    previous_end = end;
    overflow = overflow || __builtin_add_overflow(covered, count, &covered);
  });
  if (overflow || covered != pages) {
    findings_.in("run.cover", path,
                 "the runs have " + (overflow ? "more than 2^64" : to_string(covered)) +
                     " pages, where " + to_string(pages) + " are needed");
  }
}

void StateCheck::check_memory_objects(const Path& path) {
  auto objects = state_.getMemoryObjects();
  std::vector<std::tuple<std::uint64_t, std::uint64_t, unsigned>> identities;
  unsigned i = 0;
  each(path, objects, [&](const Path& at, schema::MemoryObject::Reader object) {
    if (object.getInode() != 0) {
      identities.emplace_back(object.getDevice(), object.getInode(), i);
    }
    check_memory_object(at, object, i++);
  });
  std::sort(identities.begin(), identities.end());
  for (std::size_t k = 1; k < identities.size(); ++k) {
    const auto& [device, inode, index] = identities[k];
    if (device == std::get<0>(identities[k - 1]) && inode == std::get<1>(identities[k - 1])) {
      findings_.in("object.duplicate", path[index],
                   "device " + to_string(device) + ", inode " + to_string(inode) +
                       " occurs before as " + path[std::get<2>(identities[k - 1])].str());
    }
  }
}

void StateCheck::check_memory_object(const Path& path, schema::MemoryObject::Reader object,
                                     std::uint64_t index) {
  const std::uint64_t page_size = rules_.page_size;
  const std::uint64_t length = object.getLength();
  const bool is_file = object.isFile();
  if (object.which() > schema::MemoryObject::SYSTEM_V) {
    return;
  }
  if (length > INT64_MAX || (length == 0 && !is_file && !object.isMemfd())) {
    findings_.in("object.length", path / "length", to_string(length));
    return;
  }
  const std::uint64_t pages = align_up(length, page_size) / page_size;
  auto runs = object.getRuns();
  if (runs.size() == 0 && !is_file && pages != 0) {
    findings_.in("object.runs", path / "runs", "the contents are missing");
  }
  RangeSet own_backing;
  if (runs.size() != 0) {
    check_runs(path / "runs", runs, pages, is_file, 0, is_file ? &own_backing : nullptr, false);
    if (is_file && runs.size() == 1 && runs[0].getKind() == schema::RunKind::BACKING) {
      findings_.in("run.default", path / "runs", "without runs the file reads the same");
    }
    auto last = runs[runs.size() - 1];
    const std::optional<std::uint64_t> stream_pages = pages_of_stream(last);
    if (length % page_size != 0 && stream_pages && last.getPages() != 0 &&
        last.getFirst() < *stream_pages && last.getPages() <= *stream_pages - last.getFirst()) {
      const PageTail tail = {last.getFirst() + last.getPages() - 1,
                             static_cast<std::uint32_t>(length % page_size), path.str()};
      if (last.getKind() == schema::RunKind::STREAM) {
        tails_.own.push_back(tail);
      } else {
        tails_.of_bases.emplace_back(last.getSource(), tail);
      }
    }
  }
  switch (object.which()) {
  case schema::MemoryObject::FILE: {
    auto file = object.getFile();
    check_file_identity(path / "file", file);
    if (file.getSize() != length) {
      findings_.in("object.length", path / "length",
                   to_string(length) + ", where the file's size is " + to_string(file.getSize()));
    }
    RangeSet& used = runs.size() != 0 ? own_backing : backing_[index];
    RangeSet digests;
    for (auto digest : file.getDigests()) {
      std::uint64_t end;
      if (!__builtin_add_overflow(digest.getOffset(), digest.getLength(), &end)) {
        digests.add(digest.getOffset(), end);
      }
    }
    const auto& covered = digests.joined();
    for (const auto& [begin, end] : used.joined()) {
      const std::uint64_t clipped = std::min(end, length);
      if (begin >= clipped) {
        continue;
      }
      auto after = std::upper_bound(covered.begin(), covered.end(), std::pair(begin, UINT64_MAX));
      if (after == covered.begin() || std::prev(after)->second < clipped) {
        findings_.in("file.digest-missing", path / "file" / "digests",
                     "bytes " + to_string(begin) + " to " + to_string(clipped - 1) + " are used");
        break;
      }
    }
    break;
  }
  case schema::MemoryObject::MEMFD:
    if ((object.getMemfd().getSeals() & ~kSealsAll) != 0) {
      beyond("object.seals", path / "memfd" / "seals", hex_text(object.getMemfd().getSeals()));
    }
    break;
  case schema::MemoryObject::ANONYMOUS:
  case schema::MemoryObject::SYSTEM_V:
    break;
  }
}

} // namespace rrpcp
