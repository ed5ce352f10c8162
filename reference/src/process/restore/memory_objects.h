// The memory objects of a checkpoint, opened or made anew, to be mapped by every process that is
// restored from it.
#pragma once

#include "base/scoped_fd.h"
#include "process/restore/obstacles.h"
#include "process/restore/page_copy.h"
#include "process/restore/segment_keeper.h"
#include "rrpcp/process/restore.h"
#include "rrpcp/reader.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace rrpcp::process::restore {

// Makes every object once, so that all who map it share it. Descriptors belong to this class; new
// processes inherit them. What is left over at the end (a System V segment that nobody attached) is
// removed by the destructor unless keep() was called. One thread at a time.
class MemoryObjects {
public:
  enum class Kind {
    kUnused,   // nobody needs it
    kFile,     // the file itself, verified
    kStandIn,  // a memory file with the contents of an embedded file that is not there
    kUnlinked, // a file without a name, made anew with its contents
    kMemory,   // shared anonymous memory or a memfd, made anew
    kSystemV,  // a System V segment, attached by id
  };

  // Opens and verifies files, and looks for segments that are there. Nothing of the system is
  // changed. What cannot be had is added to `obstacles`. Only objects that some mapping, descriptor
  // or address space of the state refers to are looked at.
  MemoryObjects(const CheckpointReader& reader, const RestoreOptions& options,
                Obstacles& obstacles);
  ~MemoryObjects();
  MemoryObjects(const MemoryObjects&) = delete;
  MemoryObjects& operator=(const MemoryObjects&) = delete;

  // Makes the other objects. What is made here, and what is changed of segments that were there,
  // the destructor undoes unless keep() was called. Throws Error.
  void acquire(Obstacles& obstacles);

  std::size_t size() const { return objects_.size(); }
  Kind kind(std::size_t index) const { return objects_[index].kind; }
  // For people: the file's path, "shared memory (memfd:name)".
  const std::string& name(std::size_t index) const { return objects_[index].name; }
  // Descriptor to map `index` with, or -1 where it has none (kUnused, an obstacle; a segment
  // without privilege: it is attached, and private mappings of it are not possible).
  // A private mapping or one that never may be written takes the read-only one. That of a memfd
  // for writing is what memfd_create(2) gave.
  int descriptor(std::size_t index, bool writable) const;
  // kSystemV: identifier of shmget(2).
  int segment_id(std::size_t index) const { return objects_[index].segment; }
  // kSystemV: size in bytes.
  std::uint64_t length(std::size_t index) const { return objects_[index].length; }

  // How to fill the objects that were made anew. Call once, and let copy_pages do it before any new
  // process runs.
  std::vector<PageCopy> contents() const;

  // When processes have mapped and filled everything: gives memory files and files without a name
  // their owner, mode, time and seals. Returns a sentence for each that could not be set.
  std::vector<std::string> finish();

  // Leaves System V segments in place: processes have them now.
  void keep();
  // The same, but for the case that we are killed before the result's keep() is called.
  std::unique_ptr<SegmentKeeper> keep_later();

private:
  struct Object {
    Kind kind = Kind::kUnused;
    std::string name;
    std::uint64_t length = 0;
    ScopedFd read_only;
    ScopedFd writable;
    // A memfd: what memfd_create(2) gave. Unlike others that are open for writing it does not keep
    // the file from being executed (execve(2) ETXTBSY). `writable` is another one.
    ScopedFd original;
    // kSystemV: where this process has it attached to fill it.
    void* local = nullptr;
    int segment = -1;
    bool segment_made_here = false;
    bool segment_dies = false; // removed once the last process detaches
    int segment_key = 0;
    int existing = -1;                      // a segment that is taken over
    std::vector<std::byte> former_contents; // of that one
  };
  struct Use;

  std::vector<Use> find_uses() const;
  void open_file(std::size_t index, const Use& use);
  void make_stand_in(std::size_t index);
  void make_unlinked(std::size_t index);
  void make_anonymous(std::size_t index);
  void make_memfd(std::size_t index);
  void plan_segment(std::size_t index, Obstacles& obstacles);
  bool holds_stored(std::size_t index, int segment) const;
  void make_segment(std::size_t index, Obstacles& obstacles);
  static void set_ownership(const Object& object, std::uint32_t uid, std::uint32_t gid,
                            std::uint32_t mode, std::int64_t modified_at,
                            std::vector<std::string>& warnings);
  static ScopedFd open_mapped(const void* memory, std::uint64_t size);
  void compare_contents(const Object& object, schema::MemoryObject::Reader stored) const;
  void adopt_memory_file(Object& object, ScopedFd file);

  const CheckpointReader& reader_;
  schema::State::Reader state_;
  const RestoreOptions& options_;
  std::vector<Object> objects_;
  bool acquired_ = false;
  std::unique_ptr<SegmentKeeper> keeper_ = std::make_unique<SegmentKeeper>();
  bool kept_ = false;
};

} // namespace rrpcp::process::restore
