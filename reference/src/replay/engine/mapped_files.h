// The files that recorded tasks have mapped.
#pragma once

#include "base/scoped_fd.h"
#include "process/proc_maps.h"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>

struct stat;

namespace rrpcp::replay {

struct MappedFile {
  // Number of the shared object that a replay has for it. Nothing: only private mappings, which a
  // replay makes of the copy that the trace keeps.
  std::optional<std::uint32_t> object;
  // Of an object: open for reading, so that no other file gets its inode number. May be empty.
  ScopedFd handle;
  std::string path; // as it was when it was mapped first
  // Of an object: the size that the trace has last said it has, in bytes.
  std::uint64_t size = 0;
  // Private mappings of it are memory in a replay, as long as their processes cannot write to them.
  bool as_memory = false;
  // What /proc/PID/maps says that it is.
  std::uint64_t device = 0;
  std::uint64_t inode = 0;

  bool is_mapped_by(const process::ProcMapping& mapping) const {
    return mapping.inode == inode && mapping.device == device && inode != 0;
  }
};

// Knows files by what stat(2) says of them. One that only had private mappings may be forgotten
// when nobody has it mapped; an object is one as long as the recording lasts.
class MappedFiles {
public:
  MappedFile* find(const struct stat& status);
  // The object of a mapping. Null: it is none.
  MappedFile* find(const process::ProcMapping& mapping);
  // One that is mapped at `mapping` and, in a replay, is memory. Null: it is none.
  MappedFile* find_as_memory(const process::ProcMapping& mapping);
  // Finds or makes the entry of a file that has just been mapped at `mapping`.
  MappedFile& add(const struct stat& status, const process::ProcMapping& mapping);
  void make_object(MappedFile& file, ScopedFd handle);
  void forget(const struct stat& status);
  bool have_objects() const { return last_object_ != 0; }
  // Calls `visit` with each object.
  void visit_objects(const std::function<void(MappedFile&)>& visit);

private:
  std::map<std::pair<std::uint64_t, std::uint64_t>, MappedFile> files_; // by st_dev, st_ino
  std::uint32_t last_object_ = 0;
};

} // namespace rrpcp::replay
