#include "process/restore/special_mappings.h"

#include "process/restore/file_identity.h"
#include "rrpcp/error.h"

#include <cstring>
#include <span>
#include <unistd.h>

namespace rrpcp::process::restore {

namespace {

bool is_vdso_part(schema::MappingRole role) {
  return role == schema::MappingRole::VDSO || role == schema::MappingRole::VVAR;
}

Error other_vdso(const std::string& what) {
  return Error(ErrorCode::kUnsupportedState,
               "the checkpoint was made under another kernel: its vDSO differs from the one of the "
               "running kernel (" +
                   what + ")")
      .with_hint("restore under the kernel that the checkpoint was made under");
}

} // namespace

std::vector<ProcMapping> own_special_mappings() {
  std::vector<ProcMapping> special;
  for (ProcMapping& mapping : read_mappings(::getpid())) {
    if (mapping.name == "[vdso]" || mapping.name.starts_with("[vvar")) {
      special.push_back(std::move(mapping));
    }
  }
  return special;
}

std::vector<SpecialMove> plan_special_moves(schema::AddressSpace::Reader space,
                                            MemoryView& memory) {
  std::vector<ProcMapping> own = own_special_mappings();
  std::vector<SpecialMove> moves;
  auto next = own.begin();
  for (schema::Mapping::Reader mapping : space.getMappings()) {
    if (!is_vdso_part(mapping.getRole())) {
      continue;
    }
    std::string name = text_of(mapping.getName());
    // A program may have unmapped some of it, as valgrind does: what it has is looked for in order.
    while (next != own.end() && next->name != name) {
      ++next;
    }
    if (next == own.end()) {
      throw other_vdso("it has no part " + name + ", or not there");
    }
    const ProcMapping& mine = *next++;
    const std::uint64_t size = mapping.getEnd() - mapping.getStart();
    if (size != mine.length()) {
      throw other_vdso("the size of " + name);
    }
    moves.push_back({name, {mine.start, mine.end}, mapping.getStart()});
    if (moves.back().to - moves.front().to != moves.back().from.start - moves.front().from.start) {
      throw other_vdso("the distances between its parts");
    }
    if (mapping.getRole() == schema::MappingRole::VDSO) {
      std::vector<std::byte> stored(size);
      if (memory.read(mapping.getStart(), stored) != size ||
          std::memcmp(stored.data(), reinterpret_cast<const void*>(mine.start), size) != 0) {
        throw other_vdso("the contents of " + name);
      }
    }
  }
  return moves;
}

} // namespace rrpcp::process::restore
