// Shared memory and mapped files of the processes that are captured.
#pragma once

#include "base/hash.h"
#include "base/scoped_fd.h"
#include "process/capture/mapping_kind.h"
#include "process/capture/page_spool.h"
#include "process/proc_maps.h"
#include "rrpcp/page_run.h"
#include "rrpcp/schema/state.capnp.h"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace rrpcp::process::capture {

// Bytes [offset, offset + length) of an object.
struct ObjectRange {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;

  bool operator==(const ObjectRange&) const = default;
};

// Of bytes of open files: asked before they are read, and told what was found.
struct KnownDigests {
  std::function<std::optional<Digest128>(int fd, const ObjectRange& range)> find;
  std::function<void(int fd, const ObjectRange& range, const Digest128& digest)> keep;
};

// Sorts ranges and joins those that touch or overlap.
std::vector<ObjectRange> join_ranges(std::vector<ObjectRange> ranges);

// A range of an object and where it is found: in the spool, or in a process.
struct PlacedRange {
  ObjectRange range;
  std::uint64_t place = 0;
};

void sort_by_offset(std::vector<PlacedRange>& ranges);

// What the kernel lists of a System V segment.
struct SegmentStatus {
  std::uint32_t mode = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t creator_uid = 0;
  std::uint32_t creator_gid = 0;
};

// What mappings share: described once, whatever the number of mappings.
struct MemoryObject {
  enum class Storage {
    kByReference, // a file that stays where it is
    kUsed,        // the ranges that mappings use are stored
    kWhole,       // all of it is stored
  };

  MappingKind kind = MappingKind::kFile;
  Storage storage = Storage::kByReference;
  // As /proc/PID/maps shows them: what identifies the object.
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  // Path of a file, name of a memfd.
  std::string name;
  bool deleted = false;
  // Open for reading; empty where it cannot be opened, as shared memory without a descriptor by an
  // unprivileged user: then the content is read through mappings.
  ScopedFd content;
  pid_t mapped_in = 0;
  std::vector<PlacedRange> mapped; // shared mappings in that process, by address
  std::uint64_t length = 0;
  std::uint64_t allocated = 0;  // bytes that its file system keeps for it
  std::int64_t modified_at = 0; // nanoseconds since 1970
  std::uint32_t mode = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint64_t huge_page_size = 0; // of a memfd on hugetlbfs; 0: ordinary pages
  std::optional<SegmentStatus> segment;
  std::uint32_t seals = 0;
  std::int32_t key = 0;
  // Mapped shared and writable: processes that go on can change what no snapshot keeps.
  bool live = false;
  // Digests were computed while the process stood still.
  bool digested = false;
  // What mappings take from the object. Not ordered, may overlap.
  std::vector<ObjectRange> used;
  // Content that was set aside, in order, where it was.
  std::optional<std::vector<PlacedRange>> spooled;
  // Results.
  std::vector<std::pair<ObjectRange, Digest128>> digests;
  std::vector<std::byte> build_id;
  std::vector<PageRun> runs;
};

// The objects of all processes of one capture. One thread at a time.
class ObjectTable {
public:
  // Files in `trace_directory` are named relative to it; empty: there is none.
  ObjectTable(std::uint64_t page_size, bool embed_files, std::string trace_directory = {})
      : page_size_(page_size), embed_files_(embed_files),
        trace_directory_(std::move(trace_directory)) {}

  // Index of the object behind a mapping of process `pid` that has one (is_object); it is examined
  // when it is seen first. Nothing where it is a device, or cannot be examined. Throws Error.
  std::optional<std::uint32_t> add(pid_t pid, const ProcMapping& mapping);
  // Index of the object behind a mapping that was added before.
  std::optional<std::uint32_t> find(const ProcMapping& mapping) const;
  // Index of the memfd that descriptor `fd` of process `pid` refers to.
  std::uint32_t add_memfd(pid_t pid, int fd, std::string name);
  // Index of the regular file without a name that descriptor `fd` of thread `tid` refers to, all of
  // whose contents are stored; nothing where it cannot be opened.
  std::optional<std::uint32_t> add_unlinked(pid_t tid, int fd, std::string name);
  // Index of the file that /proc/PID/exe names; nothing where it cannot be examined.
  std::optional<std::uint32_t> add_executable(pid_t pid, const std::string& path);

  MemoryObject& operator[](std::uint32_t index) { return objects_[index]; }
  std::uint32_t size() const { return static_cast<std::uint32_t>(objects_.size()); }

  // Puts the objects into another order: number order[i] becomes number i.
  void reorder(const std::vector<std::uint32_t>& order);

  // What has to be done while the processes stand still and will go on: copies live content into
  // `spool`, and digests live files that are not stored, up to a limit in all. Returns names of
  // files that are over it.
  std::vector<std::string> set_aside(PageSpool& spool);
  // Where the content of a stored object is that was not set aside: ranges of its file that hold
  // data, in order.
  std::vector<ObjectRange> data_ranges(const MemoryObject& object) const;
  // Digests the used ranges of files that are referred to, and reads build ids. Returns names of
  // files that were written to after `frozen_at` (nanoseconds since 1970).
  std::vector<std::string> digest_files(std::int64_t frozen_at, const KnownDigests& known);

  // Sets State.memoryObjects.
  void build(schema::State::Builder state) const;

private:
  std::optional<std::uint32_t> examine(pid_t pid, const ProcMapping& mapping, MappingKind kind);
  std::uint32_t insert(MemoryObject object);
  // Sets what stat(2) says of the object's content. False where it is no regular file.
  static bool measure(MemoryObject& object);

  std::uint64_t page_size_;
  bool embed_files_;
  std::string trace_directory_;
  std::vector<MemoryObject> objects_;
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint32_t> by_identity_;
};

} // namespace rrpcp::process::capture
