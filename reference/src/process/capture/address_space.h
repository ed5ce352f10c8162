// What a checkpoint says of one address space.
#pragma once

#include "process/capture/address_range.h"
#include "process/capture/aside_memory.h"
#include "process/capture/memory_objects.h"
#include "process/capture/memory_report.h"
#include "process/capture/page_pump.h"
#include "process/capture/page_spool.h"
#include "process/capture/refusals.h"
#include "process/page_scan.h"
#include "process/proc_auxv.h"
#include "process/proc_stat.h"
#include "process/remote_memory.h"
#include "rrpcp/page_run.h"
#include "rrpcp/schema/memory.capnp.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace rrpcp::process::capture {

// What is known of the memory of a watched process before it stands still.
struct WrittenBefore {
  std::vector<AddressRange> watched; // mappings that have been watched since the base was made
  std::vector<AddressRange> written; // parts of them that are protected again already; in order
  std::vector<AddressRange> known;   // where the base has the memory; in order
};

// Collects one address space: first, while its process stands still, what a copy of the process
// (fork(2)) would not have; then, from the process or a copy of it, mappings and pages.
class AddressSpaceCollector {
public:
  // `pid` is a stopped thread with this address space.
  // `join`: neighbouring areas of anonymous memory that differ in nothing but their history are
  // told as one, so that equal replays give equal checkpoints.
  AddressSpaceCollector(pid_t pid, ObjectTable& objects, Refusals& refusals, bool join = false);

  // While the process stands still: reads the mappings and adds shared memory to the objects.
  // Throws Error.
  void collect_frozen();
  // When memory that an earlier capture had left was given back. Throws Error.
  void read_mappings_again() { mappings_ = read_mappings(pid_); }
  pid_t pid() const { return pid_; }
  const std::vector<ProcMapping>& mappings() const { return mappings_; }
  // What smaps says of the process itself, where it was asked before it stood still: a copy does
  // not inherit that memory is locked (mlock(2)).
  void note_locked(const std::vector<ProcMemoryArea>& areas);

  // While the process stands still: sets aside the touched private pages of a range that a copy
  // will not have.
  void set_aside(AddressRange range, PageSpool& spool);
  // While the process stands still, and a copy of it was made: sets aside the mappings that the
  // copy does not have (MADV_DONTFORK).
  void set_aside_missing(pid_t copy, PageSpool& spool);

  // While the process stands still: finds what was written since the base was captured; what was
  // not is taken over unread. From then on whatever is written is noted for the next time. Uses
  // nothing that others of these functions change, so that another thread may do it between
  // note_enrolled() and examine_before(). Throws Error.
  void note_unwritten(const WrittenBefore& before);
  // Mappings that we watch: the program does not.
  void note_enrolled(std::vector<AddressRange> enrolled) { enrolled_ = std::move(enrolled); }
  // Bytes of private memory that was, or may have been; all of it without note_unwritten().
  std::uint64_t written_bytes() const { return written_bytes_; }
  // Instead of a copy, all on a process that stands still until all is set aside, which it may go
  // on then: sets aside everything that was written.
  //
  // The memory for it, which lives as long as what is read here.
  void lend_aside(AsideMemory& memory) { aside_ = &memory; }
  // After note_unwritten(): where what was written will lie.
  void plan_aside();
  // Reads what plan_aside() has found. Several threads may do so at once: each takes a part. Then
  // it is all there when the last one comes back.
  void read_aside();
  // Reads again what was read of a range, because we had bytes of ours there then; and what nobody
  // reads in read_aside(): the code that the kernel maps, where a CallGate is.
  void finish_aside(AddressRange ours);
  // examine() with what was asked before the process stood still, if that is about the mappings
  // that it has. False: nothing was done.
  bool examine_before(const MemoryReport& report);

  // From now on everything is read from `source`, the process or a copy of it. Returns areas that a
  // copy has without their contents (MADV_WIPEONFORK) and that were not set aside: with such, the
  // copy is of no use. Throws Error.
  std::vector<AddressRange> examine(pid_t source);
  // Calls `visit` with every number of an object that the space refers to, in the order in which
  // the mappings refer to them, then the executable's.
  void visit_objects(const std::function<void(std::uint32_t&)>& visit);
  // The memory policy of the main thread, which the kernel shows of mappings that have none. Asks
  // `has_own` of the first address of each for which it shows that one.
  void note_policy(MemoryPolicy policy, const std::function<bool(std::uint64_t)>& has_own);
  // Bytes of pages that the space has of its own, about; after examine_before() of those that are
  // read.
  std::uint64_t touched_bytes() const { return touched_bytes_; }
  const std::vector<AuxvEntry>& auxv() const { return auxv_; }

  // Reads the pages of private mappings. `base_space`: the space of the pump's base that held the
  // same process, where it has one.
  void read_pages(const PageSpool& spool, PagePump& out, std::optional<std::uint32_t> base_space);
  // An address at which the object is mapped shared, and the offset there; nothing: it is not.
  std::optional<std::pair<std::uint64_t, std::uint64_t>> place_of(std::uint32_t object) const;

  // Sets every field that a live process has. `brk` is the end of its heap.
  void build(std::uint64_t brk, schema::AddressSpace::Builder space) const;

  std::size_t mapping_count() const { return areas_.size(); }

private:
  // Private memory that was set aside.
  struct SavedArea {
    AddressRange range;
    std::vector<PlacedRange> pages; // touched ones in order: addresses and places in the spool
    std::vector<AddressRange> guards;
  };

  struct Area {
    ProcMapping mapping;
    MappingKind kind = MappingKind::kOther;
    std::uint32_t flags = 0;
    std::uint32_t advice = 0;
    std::uint32_t maximum_protection = 0; // of a shared mapping
    std::uint16_t protection_key = 0;
    std::uint32_t object = schema::NO_INDEX;
    bool locked_on_fault = false;
    bool droppable = false;
    bool sealed = false;
    std::uint32_t user_faults = 0;
    MemoryPolicy policy;
    std::uint64_t touched = 0; // bytes, about
    std::vector<PageRun> runs;
  };

  // Of a mapping that is watched: what is in it. False where the kernel does not say.
  bool find_written(const ProcMapping& mapping, const WrittenBefore& before, PageScanner& scanner);
  void note_written(std::uint64_t start, std::uint64_t end);

  void examine_areas(const std::vector<ProcMemoryArea>& memory);
  void add_area(const ProcMemoryArea& memory);
  bool locked_on_fault(const ProcMemoryArea& memory) const;
  // Whether the area was joined with the one before it.
  bool join_with_last(const Area& area);
  void refuse(const ProcMemoryArea& memory);
  // Whether note_locked() was told that the mapping is.
  bool was_locked(const ProcMapping& mapping) const;
  const SavedArea* find_saved(const ProcMapping& mapping) const;
  // Calls `read` and `unchanged` for the parts of a touched range that were written and were not.
  template <typename Read, typename Unchanged>
  void split(AddressRange range, Read read, Unchanged unchanged) const;
  void read_area(Area& area, const std::shared_ptr<RemoteMemory>& memory, PageScanner& scanner,
                 const PageSpool& spool, PagePump& out, std::optional<std::uint32_t> base_space);

  pid_t pid_;
  pid_t source_ = 0;
  ObjectTable& objects_;
  Refusals& refusals_;
  const bool join_;
  std::uint64_t page_size_;
  std::vector<ProcMapping> mappings_;
  std::vector<AddressRange> locked_;
  std::vector<AddressRange> locked_on_fault_;
  MemoryPolicy usual_policy_;           // of the main thread
  std::set<std::uint64_t> bound_alike_; // mappings that have the same as their own, by their start
  std::map<std::uint64_t, MemoryPolicy> policies_; // others, by the start of the mapping
  std::vector<SavedArea> saved_;
  std::vector<AddressRange> enrolled_;  // mappings, in order
  std::vector<AddressRange> watched_;   // those of which all is written that is not unwritten
  std::vector<AddressRange> unwritten_; // in order
  std::vector<AddressRange> written_;   // or not watched; in order, each in one mapping
  std::uint64_t written_bytes_ = UINT64_MAX;
  std::vector<AddressRange> guards_; // pages, in order
  // What read_aside() reads, in order of their addresses, and where that is taken from.
  std::vector<PlacedRange> aside_ranges_;
  std::atomic<std::size_t> next_aside_ = 0;
  AsideMemory* aside_ = nullptr;
  bool set_aside_written_ = false;
  std::vector<ProcMemoryArea> missing_; // mappings that a copy does not have
  std::vector<Area> areas_;
  std::uint64_t touched_bytes_ = 0;
  std::vector<AuxvEntry> auxv_;
  ProcStat stat_;
  std::string executable_;
  std::uint32_t executable_object_ = schema::NO_INDEX;
};

} // namespace rrpcp::process::capture
