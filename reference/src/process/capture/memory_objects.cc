#include "process/capture/memory_objects.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/sparse_read.h"
#include "model/elf_build_id.h"
#include "process/capture/data_bytes.h"
#include "process/named_file.h"
#include "process/proc_file.h"
#include "process/proc_maps.h"
#include "process/remote_memory.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <linux/magic.h>
#include <span>
#include <string_view>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace rrpcp::process::capture {

namespace {

constexpr std::size_t kPiece = 256 << 10;
// How much of files is digested while the processes stand still, in all.
constexpr std::uint64_t kMaxFrozenDigest = std::uint64_t{1} << 30;

std::string map_file_path(pid_t pid, const ProcMapping& mapping) {
  char name[64];
  std::snprintf(name, sizeof name, "map_files/%llx-%llx",
                static_cast<unsigned long long>(mapping.start),
                static_cast<unsigned long long>(mapping.end));
  return proc_path(pid, name);
}

// Opens what a mapping maps, whatever its path names now. Needs CAP_CHECKPOINT_RESTORE or
// CAP_SYS_ADMIN; empty without.
ScopedFd open_map_file(pid_t pid, const ProcMapping& mapping) {
  return ScopedFd(::open(map_file_path(pid, mapping).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
}

// The path of the mapped file without escapes; nothing without the same privilege.
std::optional<std::string> name_of_map_file(pid_t pid, const ProcMapping& mapping) {
  try {
    return try_read_link(map_file_path(pid, mapping));
  } catch (const Error&) {
    return std::nullopt;
  }
}

struct stat with_inode(std::uint64_t inode) {
  struct stat status {};
  status.st_ino = inode;
  return status;
}

// Opens a file by the path that a mapping shows, if it is that file.
ScopedFd open_by_path(pid_t pid, const std::string& path, std::uint64_t inode) {
  const std::string place = find_named_file(pid, path, with_inode(inode), false);
  ScopedFd file;
  if (!place.empty()) {
    file.reset(::open(place.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  }
  struct stat status;
  if (file && (::fstat(file.get(), &status) != 0 || status.st_ino != inode)) {
    file.reset();
  }
  return file;
}

// Whether `path`, as process `pid` sees it, still names the file.
bool is_named(pid_t pid, const std::string& path, std::uint64_t inode) {
  return !find_named_file(pid, path, with_inode(inode), false).empty();
}

bool lives_in_memory(int fd) {
  struct statfs status;
  return ::fstatfs(fd, &status) == 0 &&
         (status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC);
}

// Calls `sink` with consecutive pieces of a range.
template <typename Sink>
void each_piece(ObjectRange range, std::vector<std::byte>& buffer, Sink sink) {
  buffer.resize(kPiece);
  while (range.length > 0) {
    std::uint64_t n = std::min<std::uint64_t>(range.length, kPiece);
    sink(range.offset, std::span(buffer).first(n));
    range.offset += n;
    range.length -= n;
  }
}

// What /proc/sysvipc/shm says of a segment (sysvipc(7)): permission bits, user and group, those of
// its creator. Nothing where it is not listed.
std::optional<SegmentStatus> segment_status(std::uint64_t id) {
  const std::string content = try_read_file("/proc/sysvipc/shm").value_or("");
  std::string_view text = content;
  cut_field(text, '\n'); // headings
  while (!text.empty()) {
    std::string_view line = cut_field(text, '\n');
    cut_word(line); // key
    std::string_view shown_id = cut_word(line);
    std::string_view permissions = cut_word(line);
    if (shown_id.empty() || static_cast<std::uint64_t>(parse_signed(shown_id, "a segment")) != id) {
      continue;
    }
    SegmentStatus status;
    status.mode =
        static_cast<std::uint32_t>(parse_number(permissions, 8, "a segment's permissions"));
    for (int skipped = 0; skipped < 4; ++skipped) { // size, creator, last user, attachments
      cut_word(line);
    }
    for (std::uint32_t* owner :
         {&status.uid, &status.gid, &status.creator_uid, &status.creator_gid}) {
      *owner = static_cast<std::uint32_t>(parse_number(cut_word(line), 10, "a segment's owner"));
    }
    return status;
  }
  return std::nullopt;
}

// The range without what lies beyond the end.
ObjectRange clip(ObjectRange range, std::uint64_t length) {
  if (range.offset >= length) {
    return {range.offset, 0};
  }
  return {range.offset, std::min(range.length, length - range.offset)};
}

std::uint64_t total_length(const std::vector<ObjectRange>& ranges, std::uint64_t end) {
  std::uint64_t total = 0;
  for (const ObjectRange& range : ranges) {
    total += clip(range, end).length;
  }
  return total;
}

void digest(MemoryObject& object, const KnownDigests& known = {}) {
  std::vector<std::byte> buffer;
  for (const ObjectRange& joined : join_ranges(object.used)) {
    ObjectRange range = clip(joined, object.length);
    if (range.length == 0) {
      continue;
    }
    if (known.find) {
      if (const std::optional<Digest128> found = known.find(object.content.get(), range)) {
        object.digests.emplace_back(range, *found);
        continue;
      }
    }
    Xxh3Stream128 hash;
    try {
      // Holes cost no reading: there are files of a terabyte that hold nothing.
      std::uint64_t got =
          read_sparse(object.content.get(), range.offset, range.length, buffer,
                      [&](std::span<const std::byte> piece) { hash.update(piece); });
      const std::vector<std::byte> zeros(kPiece);
      for (; got < range.length; got += std::min<std::uint64_t>(kPiece, range.length - got)) {
        hash.update(std::span(zeros).first(std::min<std::uint64_t>(kPiece, range.length - got)));
      }
    } catch (const Error& error) {
      throw error.in_file(object.name);
    }
    object.digests.emplace_back(range, hash.digest());
    if (known.keep) {
      known.keep(object.content.get(), range, object.digests.back().second);
    }
  }
  object.digested = true;
}

} // namespace

std::vector<ObjectRange> join_ranges(std::vector<ObjectRange> ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const ObjectRange& a, const ObjectRange& b) { return a.offset < b.offset; });
  std::vector<ObjectRange> joined;
  for (const ObjectRange& range : ranges) {
    if (!joined.empty() && range.offset <= joined.back().offset + joined.back().length) {
      std::uint64_t end =
          std::max(joined.back().offset + joined.back().length, range.offset + range.length);
      joined.back().length = end - joined.back().offset;
    } else if (range.length > 0) {
      joined.push_back(range);
    }
  }
  return joined;
}

void sort_by_offset(std::vector<PlacedRange>& ranges) {
  std::stable_sort(ranges.begin(), ranges.end(), [](const PlacedRange& a, const PlacedRange& b) {
    return a.range.offset < b.range.offset;
  });
}

bool ObjectTable::measure(MemoryObject& object) {
  struct stat status;
  if (::fstat(object.content.get(), &status) != 0) {
    throw system_error(errno, "cannot examine").in_file(object.name);
  }
  object.length = static_cast<std::uint64_t>(status.st_size);
  object.allocated = static_cast<std::uint64_t>(status.st_blocks) * 512;
  object.modified_at = nanoseconds(status.st_mtim);
  object.mode = status.st_mode;
  object.uid = status.st_uid;
  object.gid = status.st_gid;
  struct statfs system;
  if (object.kind == MappingKind::kMemfd && ::fstatfs(object.content.get(), &system) == 0 &&
      system.f_type == HUGETLBFS_MAGIC) {
    object.huge_page_size = static_cast<std::uint64_t>(system.f_bsize);
  }
  return S_ISREG(status.st_mode);
}

void ObjectTable::reorder(const std::vector<std::uint32_t>& order) {
  std::vector<MemoryObject> objects;
  std::vector<std::uint32_t> numbers(objects_.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) {
    objects.push_back(std::move(objects_[order[i]]));
    numbers[order[i]] = i;
  }
  objects_ = std::move(objects);
  for (auto& [identity, number] : by_identity_) {
    number = numbers[number];
  }
}

std::uint32_t ObjectTable::insert(MemoryObject object) {
  const std::uint32_t index = size();
  by_identity_.emplace(std::pair(object.device, object.inode), index);
  objects_.push_back(std::move(object));
  return index;
}

std::optional<std::uint32_t> ObjectTable::add(pid_t pid, const ProcMapping& mapping) {
  const MappingKind kind = mapping_kind(mapping);
  auto known = by_identity_.find(std::pair(mapping.device, mapping.inode));
  std::optional<std::uint32_t> index =
      known != by_identity_.end() ? std::optional(known->second) : examine(pid, mapping, kind);
  if (!index) {
    return std::nullopt;
  }
  MemoryObject& object = objects_[*index];
  if (!mapping.shared) {
    return index;
  }
  if (object.mapped_in == pid) {
    object.mapped.push_back({{mapping.offset, mapping.length()}, mapping.start});
  }
  if (!object.content) {
    object.length = std::max(object.length, mapping.offset + mapping.length());
  }
  if (kind == MappingKind::kFile) {
    object.used.push_back({mapping.offset, mapping.length()});
    object.live |= (mapping.protection & PROT_WRITE) != 0;
    if (object.deleted || lives_in_memory(object.content.get())) {
      object.storage = MemoryObject::Storage::kWhole;
      object.live = true;
    }
  }
  return index;
}

std::optional<std::uint32_t> ObjectTable::examine(pid_t pid, const ProcMapping& mapping,
                                                  MappingKind kind) {
  MemoryObject object;
  object.kind = kind;
  object.device = mapping.device;
  object.inode = mapping.inode;
  object.mapped_in = pid;
  object.name = mapped_name(mapping, kind, object.deleted);
  if (kind == MappingKind::kFile && mapping.name.find('\\') != std::string::npos) {
    // The list of mappings does not tell a backslash in a name from an escaped character.
    if (std::optional<std::string> name = name_of_map_file(pid, mapping)) {
      object.name = std::move(*name);
      if (object.deleted && object.name.ends_with(kDeleted)) {
        object.name.resize(object.name.size() - kDeleted.size());
      }
    }
  }
  object.content = open_map_file(pid, mapping);
  if (kind == MappingKind::kFile) {
    if (!object.content) {
      object.content = open_by_path(pid, object.name, object.inode);
    } else if (object.deleted && is_named(pid, object.name + " (deleted)", object.inode)) {
      object.name += " (deleted)"; // that is its name
      object.deleted = false;
    } else if (!object.deleted && !is_named(pid, object.name, object.inode)) {
      object.deleted = true; // something else lies over it
    }
    if (!object.content) {
      return std::nullopt;
    }
  }
  if (object.content) {
    if (!measure(object)) {
      return std::nullopt;
    }
  } else if (!mapping.shared) {
    return std::nullopt; // its pages are all that can be had
  }
  switch (kind) {
  case MappingKind::kFile:
    if (embed_files_ || object.deleted) {
      object.storage = MemoryObject::Storage::kUsed;
    }
    return insert(std::move(object));
  case MappingKind::kSystemV:
    object.key = static_cast<std::int32_t>(
        parse_number(std::string_view(object.name).substr(5), 16, "the key of a segment"));
    object.segment = segment_status(object.inode);
    break;
  case MappingKind::kMemfd:
    if (int seals = object.content ? ::fcntl(object.content.get(), F_GET_SEALS) : 0; seals > 0) {
      object.seals = static_cast<std::uint32_t>(seals);
    }
    break;
  default:
    break;
  }
  if (kind != MappingKind::kMemfd) {
    object.length = align_up(object.length, page_size_);
  }
  object.storage = MemoryObject::Storage::kWhole;
  object.live = true;
  return insert(std::move(object));
}

std::optional<std::uint32_t> ObjectTable::find(const ProcMapping& mapping) const {
  auto known = by_identity_.find(std::pair(mapping.device, mapping.inode));
  return known != by_identity_.end() ? std::optional(known->second) : std::nullopt;
}

std::uint32_t ObjectTable::add_memfd(pid_t pid, int fd, std::string name) {
  const std::string path = proc_path(pid, "fd/" + std::to_string(fd));
  struct stat status;
  if (::stat(path.c_str(), &status) != 0) {
    throw system_error(errno, "cannot examine").in_file(path);
  }
  auto known = by_identity_.find(std::pair(status.st_dev, status.st_ino));
  if (known != by_identity_.end() && objects_[known->second].content) {
    return known->second;
  }
  MemoryObject object;
  object.content.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!object.content) {
    throw system_error(errno, "cannot open").in_file(path);
  }
  object.kind = MappingKind::kMemfd;
  object.storage = MemoryObject::Storage::kWhole;
  object.live = true;
  object.device = status.st_dev;
  object.inode = status.st_ino;
  object.name = std::move(name);
  measure(object);
  if (int seals = ::fcntl(object.content.get(), F_GET_SEALS); seals > 0) {
    object.seals = static_cast<std::uint32_t>(seals);
  }
  if (known == by_identity_.end()) {
    return insert(std::move(object));
  }
  // Known from a mapping that could not be opened.
  object.mapped_in = objects_[known->second].mapped_in;
  object.mapped = std::move(objects_[known->second].mapped);
  objects_[known->second] = std::move(object);
  return known->second;
}

std::optional<std::uint32_t> ObjectTable::add_unlinked(pid_t tid, int fd, std::string name) {
  const std::string path = proc_path(tid, "fd/" + std::to_string(fd));
  MemoryObject object;
  object.content.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (!object.content || ::fstat(object.content.get(), &status) != 0) {
    return std::nullopt;
  }
  const auto known = by_identity_.find(std::pair(status.st_dev, status.st_ino));
  if (known != by_identity_.end()) { // mapped too, or open twice
    MemoryObject& same = objects_[known->second];
    if (same.kind != MappingKind::kFile) {
      return std::nullopt; // shared memory, opened by /proc/PID/map_files
    }
    same.storage = MemoryObject::Storage::kWhole;
    same.live = true;
    same.deleted = true;
    if (!same.content) {
      same.content = std::move(object.content);
      measure(same);
    }
    return known->second;
  }
  object.kind = MappingKind::kFile;
  object.storage = MemoryObject::Storage::kWhole;
  object.live = true;
  object.deleted = true;
  object.device = status.st_dev;
  object.inode = status.st_ino;
  object.name = std::move(name);
  measure(object);
  return insert(std::move(object));
}

std::optional<std::uint32_t> ObjectTable::add_executable(pid_t pid, const std::string& path) {
  const std::string link = proc_path(pid, "exe");
  struct stat status;
  ScopedFd file(::open(link.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
    return std::nullopt;
  }
  // As a rule it is mapped. Inode and name together are enough to find it: the device number may be
  // another one than that of the mapping.
  for (std::uint32_t i = 0; i < size(); ++i) {
    if (objects_[i].kind == MappingKind::kFile && objects_[i].inode == status.st_ino &&
        path.starts_with(objects_[i].name)) {
      return i;
    }
  }
  MemoryObject object;
  object.name = path;
  if (path.ends_with(kDeleted) && !is_named(pid, path, status.st_ino)) {
    object.name.resize(path.size() - kDeleted.size());
    object.deleted = true;
  }
  object.device = status.st_dev;
  object.inode = status.st_ino;
  object.content = std::move(file);
  measure(object);
  return insert(std::move(object));
}

std::vector<ObjectRange> ObjectTable::data_ranges(const MemoryObject& object) const {
  if (object.storage == MemoryObject::Storage::kUsed) {
    std::vector<ObjectRange> ranges;
    for (ObjectRange range : join_ranges(object.used)) {
      range = clip(range, align_up(object.length, page_size_));
      if (range.length > 0) {
        ranges.push_back(range);
      }
    }
    return ranges;
  }
  std::vector<ObjectRange> ranges;
  const int fd = object.content.get();
  for (off_t at = 0; static_cast<std::uint64_t>(at) < object.length;) {
    const off_t start = ::lseek(fd, at, SEEK_DATA);
    if (start < 0 && errno == ENXIO) {
      break; // only a hole is left
    }
    const off_t end = start < 0 ? -1 : ::lseek(fd, start, SEEK_HOLE);
    if (end < 0) {
      ranges = {{0, object.length}}; // a file system that does not tell holes
      break;
    }
    ranges.push_back({static_cast<std::uint64_t>(start), static_cast<std::uint64_t>(end - start)});
    at = end;
  }
  for (ObjectRange& range : ranges) {
    range = clip(range, object.length); // the file may have grown
    if (range.length == 0) {
      continue;
    }
    const std::uint64_t end = align_up(range.offset + range.length, page_size_);
    range.offset &= ~(page_size_ - 1);
    range.length = end - range.offset;
  }
  return join_ranges(std::move(ranges));
}

std::vector<std::string> ObjectTable::set_aside(PageSpool& spool) {
  std::vector<std::string> too_large;
  std::vector<std::byte> buffer;
  std::uint64_t digested = 0;
  for (MemoryObject& object : objects_) {
    if (!object.live) {
      continue;
    }
    if (object.storage == MemoryObject::Storage::kByReference) {
      digested += total_length(join_ranges(object.used), object.length);
      if (digested <= kMaxFrozenDigest) {
        digest(object);
      } else {
        object.used.clear();
        object.digested = true;
        too_large.push_back(object.name);
      }
      continue;
    }
    std::vector<PlacedRange>& pieces = object.spooled.emplace();
    if (object.content) {
      for (const ObjectRange& range : data_ranges(object)) {
        PlacedRange placed{range, 0};
        bool first = true;
        each_piece(range, buffer, [&](std::uint64_t offset, std::span<std::byte> piece) {
          read_padded(object.content.get(), piece, offset, object.length, object.name);
          std::uint64_t place = spool.append(piece);
          if (std::exchange(first, false)) {
            placed.place = place;
          }
        });
        pieces.push_back(placed);
      }
      continue;
    }
    RemoteMemory memory(object.mapped_in);
    sort_by_offset(object.mapped);
    for (const PlacedRange& mapped : object.mapped) {
      PlacedRange placed{mapped.range, 0};
      bool first = true;
      each_piece({mapped.place, mapped.range.length}, buffer,
                 [&](std::uint64_t address, std::span<std::byte> piece) {
                   // Nothing can be read beyond the object's end.
                   std::size_t n = memory.read_some(address, piece);
                   std::fill(piece.begin() + static_cast<std::ptrdiff_t>(n), piece.end(),
                             std::byte{0});
                   std::uint64_t place = spool.append(piece);
                   if (std::exchange(first, false)) {
                     placed.place = place;
                   }
                 });
      pieces.push_back(placed);
    }
  }
  return too_large;
}

std::vector<std::string> ObjectTable::digest_files(std::int64_t frozen_at,
                                                   const KnownDigests& known) {
  std::vector<std::string> changed;
  for (MemoryObject& object : objects_) {
    if (object.kind != MappingKind::kFile || !object.content) {
      continue;
    }
    object.build_id = read_build_id(object.content.get());
    if (object.digested || object.storage != MemoryObject::Storage::kByReference ||
        object.used.empty()) {
      continue;
    }
    digest(object, known);
    struct stat status;
    if (::fstat(object.content.get(), &status) == 0 &&
        (nanoseconds(status.st_mtim) != object.modified_at ||
         nanoseconds(status.st_mtim) > frozen_at)) {
      changed.push_back(object.name);
    }
  }
  return changed;
}

void ObjectTable::build(schema::State::Builder state) const {
  auto out = state.initMemoryObjects(size());
  for (std::uint32_t i = 0; i < size(); ++i) {
    const MemoryObject& object = objects_[i];
    schema::MemoryObject::Builder target = out[i];
    target.setDevice(object.device);
    target.setInode(object.inode);
    target.setLength(object.length);
    set_runs(target.initRuns(static_cast<unsigned>(object.runs.size())), object.runs);
    switch (object.kind) {
    case MappingKind::kMemfd: {
      auto memfd = target.initMemfd();
      memfd.setName(as_data(object.name));
      memfd.setSeals(object.seals);
      if (object.content) { // else its status is not known
        memfd.setMode(object.mode & 07777);
        memfd.setUid(object.uid);
        memfd.setGid(object.gid);
        memfd.setModifiedAt(object.modified_at);
      }
      memfd.setHugePageSize(object.huge_page_size);
      break;
    }
    case MappingKind::kSystemV: {
      auto segment = target.initSystemV();
      segment.setKey(object.key);
      segment.setId(static_cast<std::int32_t>(object.inode));
      if (object.segment) {
        segment.setMode(object.segment->mode);
        segment.setUid(object.segment->uid);
        segment.setGid(object.segment->gid);
        segment.setCreatorUid(object.segment->creator_uid);
        segment.setCreatorGid(object.segment->creator_gid);
      }
      break;
    }
    case MappingKind::kFile: {
      auto file = target.initFile();
      if (!trace_directory_.empty() && object.name.starts_with(trace_directory_ + "/")) {
        file.setPath(as_data(std::string_view(object.name).substr(trace_directory_.size() + 1)));
        file.setPathBase(schema::PathBase::TRACE);
      } else {
        file.setPath(as_data(object.name));
        file.setPathBase(schema::PathBase::ABSOLUTE);
      }
      file.setSize(object.length);
      file.setModifiedAt(object.modified_at);
      file.setMode(object.mode);
      file.setDeleted(object.deleted);
      if (object.deleted) {
        file.setUid(object.uid);
        file.setGid(object.gid);
      }
      file.setBuildId(
          {reinterpret_cast<const capnp::byte*>(object.build_id.data()), object.build_id.size()});
      auto digests = file.initDigests(static_cast<unsigned>(object.digests.size()));
      for (unsigned d = 0; d < digests.size(); ++d) {
        digests[d].setOffset(object.digests[d].first.offset);
        digests[d].setLength(object.digests[d].first.length);
        digests[d].setHigh(object.digests[d].second.high);
        digests[d].setLow(object.digests[d].second.low);
      }
      break;
    }
    default:
      target.setAnonymous();
      break;
    }
  }
}

} // namespace rrpcp::process::capture
