#include "process/capture/space_attributes.h"

#include "process/proc_file.h"
#include "process/proc_smaps.h"
#include "rrpcp/error.h"

#include <cerrno>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <vector>

namespace rrpcp::capture {

namespace {

// linux/prctl.h and linux/membarrier.h, newer than some headers.
constexpr int kPrGetMdwe = 66;
constexpr int kPrGetMemoryMerge = 68;
constexpr int kMembarrierGetRegistrations = 1 << 9;

std::uint32_t value_or_none(std::int64_t result) {
  return result > 0 ? static_cast<std::uint32_t>(result) : 0; // a kernel that does not know it
}

void ask_for_future_locks(RemoteCalls& calls, pid_t pid, SpaceAttributes& attributes) {
  constexpr std::uint64_t kSize = 4096;
  // Shared, so that the kernel does not join it with a neighbour.
  const std::int64_t address =
      calls.call(SYS_mmap, 0, kSize, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (address == -EAGAIN) { // it would be locked, and may not be
    attributes.lock_future = true;
    return;
  }
  if (address < 0) {
    return;
  }
  std::vector<ProcMemoryArea> areas;
  try {
    areas = read_memory_areas(pid);
  } catch (const Error&) {
    calls.call(SYS_munmap, address, kSize);
    throw;
  }
  calls.require("giving back a page of memory", SYS_munmap, address, kSize);
  for (const ProcMemoryArea& area : areas) {
    if (area.mapping.start == static_cast<std::uint64_t>(address)) {
      attributes.lock_future = area.has_flag("lo");
      attributes.lock_future_on_fault = attributes.lock_future && area.has_flag("lf");
    }
  }
}

} // namespace

SpaceAttributes collect_space_attributes(RemoteCalls& calls, const ProcStatus& status) {
  SpaceAttributes attributes;
  const std::string filter =
      try_read_file(proc_path(status.process, "coredump_filter")).value_or("");
  if (!filter.empty()) {
    std::string_view text = filter;
    attributes.core_dump_filter =
        static_cast<std::uint32_t>(parse_number(cut_field(text, '\n'), 16, "the core dump filter"));
  }
  attributes.deny_write_execute = value_or_none(calls.call(SYS_prctl, kPrGetMdwe, 0, 0, 0, 0));
  attributes.huge_pages_disabled =
      value_or_none(calls.call(SYS_prctl, PR_GET_THP_DISABLE, 0, 0, 0, 0));
  attributes.merge_all = calls.call(SYS_prctl, kPrGetMemoryMerge, 0, 0, 0, 0) == 1;
  attributes.membarrier =
      value_or_none(calls.call(SYS_membarrier, kMembarrierGetRegistrations, 0, 0));
  attributes.address_mask = status.address_mask;
  if (status.locked != 0) {
    ask_for_future_locks(calls, status.process, attributes);
  }
  return attributes;
}

void SpaceAttributes::build(schema::SpaceAttributes::Builder out) const {
  out.setCoreDumpFilter(core_dump_filter);
  out.setDenyWriteExecute(deny_write_execute);
  out.setHugePagesDisabled(huge_pages_disabled);
  out.setMergeAll(merge_all);
  out.setLockFuture(lock_future);
  out.setLockFutureOnFault(lock_future_on_fault);
  out.setMembarrier(membarrier);
  out.setAddressMask(address_mask);
}

} // namespace rrpcp::capture
