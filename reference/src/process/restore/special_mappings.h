// The mappings that the kernel itself puts into every process: vDSO and its data pages.
#pragma once

#include "process/proc_maps.h"
#include "process/restore/memory_range.h"
#include "rrpcp/memory_view.h"
#include "rrpcp/schema/memory.capnp.h"

#include <cstdint>
#include <string>
#include <vector>

namespace rrpcp::process::restore {

// One mapping to be moved: from where it is in this process, and so in a new child of it, to where
// the checkpoint has it. Both have the same size.
struct SpecialMove {
  std::string name;
  MemoryRange from;
  std::uint64_t to = 0;
};

// Special mappings of this process: "[vdso]", "[vvar]", "[vvar_vclock]", …, ordered by address.
std::vector<ProcMapping> own_special_mappings();

// What has to be moved for the address space `space`; empty where it has no vDSO. The code of a
// vDSO reaches its data pages by distance, and programs keep pointers into it, so both must be as
// they were: throws Error(kUnsupportedState) where the vDSO of the running kernel has other parts,
// sizes, distances or contents. `memory` views the same space.
std::vector<SpecialMove> plan_special_moves(schema::AddressSpace::Reader space, MemoryView& memory);

} // namespace rrpcp::process::restore
