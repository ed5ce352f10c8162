#include "process/capture/space_attributes.h"

#include "base/page.h"
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

namespace rrpcp::process::capture {

namespace {

// linux/prctl.h and linux/membarrier.h, newer than some headers.
constexpr int kPrGetMdwe = 66;
constexpr int kPrGetMemoryMerge = 68;
constexpr int kMembarrierGetRegistrations = 1 << 9;

std::uint32_t value_or_none(std::int64_t result) {
  return result > 0 ? static_cast<std::uint32_t>(result) : 0; // a kernel that does not know it
}

// A page that nothing maps, far from where the kernel maps by its own choice: above the lowest
// address that programs may map (vm.mmap_min_addr), with a page that nothing maps on either side.
std::uint64_t find_free_page(const std::vector<ProcMapping>& mappings) {
  constexpr std::uint64_t kLowest = 0x20000;
  std::uint64_t free = kLowest;
  for (const ProcMapping& mapping : mappings) {
    if (mapping.end > free - kPage && mapping.start <= free + kPage) {
      free = mapping.end + kPage;
    }
  }
  return free;
}

bool locks_on_fault(pid_t pid, std::uint64_t address) {
  for (const ProcMemoryArea& area : read_memory_areas(pid)) {
    if (area.mapping.start == address) {
      return area.has_flag("lf");
    }
  }
  return false;
}

// Only new memory shows whether new memory is locked.
void ask_for_future_locks(RemoteCalls& calls, const ProcStatus& status,
                          const std::vector<ProcMapping>& mappings, SpaceAttributes& attributes) {
  if (!calls.has_return_gate() && status.locked == 0) {
    return; // the page could stay, if we were killed
  }
  const std::uint64_t page = find_free_page(mappings);
  const std::int64_t result = calls.map_page(page);
  attributes.lock_future = result == -EAGAIN; // it would be locked, and may not be
  if (result != static_cast<std::int64_t>(page)) {
    return;
  }
  try {
    const ProcStatus now = ProcStatus::read(status.process, status.process);
    attributes.lock_future = now.locked > status.locked;
    attributes.lock_future_on_fault =
        attributes.lock_future && locks_on_fault(status.process, page);
  } catch (const Error&) {
    calls.unmap_page(page);
    throw;
  }
  calls.unmap_page(page);
}

} // namespace

SpaceAttributes collect_space_attributes(RemoteCalls& calls, const ProcStatus& status,
                                         const std::vector<ProcMapping>& mappings) {
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
  ask_for_future_locks(calls, status, mappings, attributes);
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

} // namespace rrpcp::process::capture
