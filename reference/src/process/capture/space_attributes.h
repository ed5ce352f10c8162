// What the kernel keeps of an address space beside its mappings.
#pragma once

#include "process/proc_maps.h"
#include "process/proc_status.h"
#include "process/remote_calls.h"
#include "rrpcp/schema/memory.capnp.h"

#include <cstdint>

namespace rrpcp::process::capture {

struct SpaceAttributes {
  std::uint32_t core_dump_filter = 0;
  std::uint32_t deny_write_execute = 0;
  std::uint32_t huge_pages_disabled = 0;
  bool merge_all = false;
  // mlockall(2) MCL_FUTURE, MCL_ONFAULT.
  bool lock_future = false;
  bool lock_future_on_fault = false;
  std::uint32_t membarrier = 0;
  std::uint64_t address_mask = ~std::uint64_t{0};

  void build(schema::SpaceAttributes::Builder out) const;
};

// Asks a thread of the space, whose `status` and `mappings` these are. Whether new memory is locked
// only new memory shows: a page is mapped for an instant, where it goes by itself if we are killed;
// else only where the process has locked memory. Throws Error.
SpaceAttributes collect_space_attributes(RemoteCalls& calls, const ProcStatus& status,
                                         const std::vector<ProcMapping>& mappings);

} // namespace rrpcp::process::capture
