#include "process/restore/memory_objects.h"

#include "base/bytes.h"
#include "base/parallel.h"
#include "model/backing_file.h"
#include "process/restore/file_identity.h"
#include "rrpcp/error.h"
#include "rrpcp/page_run.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <mutex>
#include <optional>
#include <sched.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#define MFD_EXEC 0x0010U
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif

namespace rrpcp::process::restore {

// Who refers to an object.
struct MemoryObjects::Use {
  bool mapped = false;
  bool shared_writable = false;
  bool may_become_writable = false;
  bool other = false;    // a descriptor, or as the executable
  bool unlinked = false; // it is the contents of a file without a name
};

namespace {

// Owners, modes: the producer did not know them (spec/model.md).
constexpr std::uint32_t kNotRecorded = 0xffffffff;
// linux/shm.h: set in the mode of a segment that dies with its last attachment.
constexpr std::uint32_t kSegmentDies = 01000;
// The longest name that memfd_create(2) takes.
constexpr std::size_t kLongestMemfdName = 249;

std::uint32_t mode_of(schema::SystemVSegment::Reader segment) {
  constexpr std::uint32_t kOwnersOnly = 0600;
  return segment.getMode() != kNotRecorded ? segment.getMode() : kOwnersOnly;
}

bool is_embedded(schema::MemoryObject::Reader object) {
  for (schema::PageRun::Reader run : object.getRuns()) {
    if (run.getKind() != schema::RunKind::BACKING) {
      return true;
    }
  }
  return false;
}

ScopedFd make_memory_file(const std::string& name, bool executable) {
  const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  std::string shown = name.substr(0, kLongestMemfdName);
  ScopedFd file(::memfd_create(shown.c_str(), flags | (executable ? MFD_EXEC : MFD_NOEXEC_SEAL)));
  if (!file && errno == EINVAL) { // before Linux 6.3
    file = ScopedFd(::memfd_create(shown.c_str(), flags));
  }
  if (!file) {
    throw system_error(errno, "cannot make a memory file");
  }
  return file;
}

// A new file whose name is taken away at once; empty where there is such a name. A process of its
// own does both, with this one's descriptors: so that no name stays, whenever we are killed.
ScopedFd make_and_unlink(const std::string& path) {
  struct Maker {
    const char* path;
    int file = -1;

    static int run(void* argument) {
      auto* maker = static_cast<Maker*>(argument);
      maker->file = ::open(maker->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
      return maker->file >= 0 ? ::unlink(maker->path) : 0;
    }
  };
  Maker maker{path.c_str()};
  std::vector<std::byte> stack(64 << 10);
  const int child = ::clone(Maker::run, stack.data() + stack.size(),
                            CLONE_VM | CLONE_FILES | CLONE_VFORK, &maker);
  if (child > 0) {
    ::waitpid(child, nullptr, __WALL);
  }
  return ScopedFd(maker.file);
}

} // namespace

std::vector<MemoryObjects::Use> MemoryObjects::find_uses() const {
  std::vector<Use> uses(state_.getMemoryObjects().size());
  auto use_of = [&](std::uint32_t index) -> Use& {
    if (index >= uses.size()) {
      throw Error(ErrorCode::kDamaged,
                  "memory object " + std::to_string(index) + " is referred to but does not exist")
          .in_file(reader_.name());
    }
    return uses[index];
  };
  for (schema::AddressSpace::Reader space : state_.getAddressSpaces()) {
    if (space.getExecutable() != schema::NO_INDEX) {
      use_of(space.getExecutable()).other = true;
    }
    for (schema::Mapping::Reader mapping : space.getMappings()) {
      if (mapping.getObject() == schema::NO_INDEX) {
        continue;
      }
      Use& use = use_of(mapping.getObject());
      use.mapped = true;
      const bool shared = (mapping.getFlags() & MAP_SHARED) != 0;
      use.shared_writable |= shared && (mapping.getProtection() & PROT_WRITE) != 0;
      use.may_become_writable |= shared && (mapping.getMaximumProtection() & PROT_WRITE) != 0;
    }
  }
  for (schema::OpenFile::Reader file : state_.getOpenFiles()) {
    if (file.isMemfd()) {
      use_of(file.getMemfd().getObject()).other = true;
    } else if (file.isRegular() && file.getContentsObject() != schema::NO_INDEX) {
      Use& use = use_of(file.getContentsObject());
      use.other = true;
      use.unlinked = true;
    }
  }
  return uses;
}

MemoryObjects::MemoryObjects(const CheckpointReader& reader, const RestoreOptions& options,
                             Obstacles& obstacles)
    : reader_(reader), state_(reader.state()), options_(options) {
  const std::vector<Use> uses = find_uses();
  auto stored = state_.getMemoryObjects();
  objects_.resize(stored.size());
  std::vector<std::size_t> files;
  for (std::size_t i = 0; i < uses.size(); ++i) {
    schema::MemoryObject::Reader object = stored[static_cast<unsigned>(i)];
    objects_[i].length = object.getLength();
    if (!uses[i].mapped && !uses[i].other) {
      continue;
    }
    for (schema::PageRun::Reader run : object.getRuns()) {
      if (run.getKind() > schema::RunKind::BACKING && run.getKind() != schema::RunKind::BASE) {
        obstacles.add(ErrorCode::kUnsupportedState, "memory object " + std::to_string(i) +
                                                        " has pages whose contents are not stored");
        break;
      }
    }
    switch (object.which()) {
    case schema::MemoryObject::FILE:
      if (uses[i].unlinked) {
        objects_[i].kind = Kind::kUnlinked;
        objects_[i].name = text_of(object.getFile().getPath());
      } else {
        files.push_back(i);
      }
      break;
    case schema::MemoryObject::ANONYMOUS:
      objects_[i].kind = Kind::kMemory;
      objects_[i].name = "shared anonymous memory";
      break;
    case schema::MemoryObject::MEMFD:
      objects_[i].kind = Kind::kMemory;
      objects_[i].name = "shared memory (memfd:" + text_of(object.getMemfd().getName()) + ")";
      break;
    case schema::MemoryObject::SYSTEM_V:
      plan_segment(i, obstacles);
      break;
    default:
      obstacles.add(ErrorCode::kUnsupportedState,
                    "memory object " + std::to_string(i) + " is of a kind that is not known");
    }
  }
  // Reading every used range of every file takes longest: all processors help.
  std::vector<std::optional<Error>> errors(files.size());
  const unsigned threads = options.threads == 0 ? available_processors() : options.threads;
  parallel_for(files.size(), threads, [&](std::uint64_t i, unsigned) {
    try {
      open_file(files[i], uses[files[i]]);
    } catch (const Error& error) {
      errors[i] = error;
    }
  });
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (!errors[i]) {
      continue;
    }
    const std::size_t index = files[i];
    schema::MemoryObject::Reader object = stored[static_cast<unsigned>(index)];
    if (errors[i]->code() == ErrorCode::kBackingFile && is_embedded(object)) {
      objects_[index].kind = Kind::kStandIn;
      if (uses[index].shared_writable) {
        obstacles.warn("writes to the shared mapping of " + objects_[index].name +
                       " do not reach a file: it is not the one that was there, and the "
                       "checkpoint's copy is used");
      }
    } else if (!uses[index].mapped) {
      obstacles.warn("/proc/PID/exe names another file: " + std::string(errors[i]->what()));
      objects_[index].read_only.reset();
    } else if (errors[i]->code() == ErrorCode::kBackingFile && objects_[index].read_only) {
      obstacles.add_unless_allowed(ErrorCode::kBackingFile, "changed-file",
                                   objects_[index].name + ": " + errors[i]->message(),
                                   "it is mapped as it is now");
    } else {
      obstacles.add(*errors[i]);
    }
  }
}

void MemoryObjects::acquire(Obstacles& obstacles) {
  if (std::exchange(acquired_, true)) {
    return;
  }
  for (std::size_t i = 0; i < objects_.size(); ++i) {
    switch (objects_[i].kind) {
    case Kind::kStandIn:
      make_stand_in(i);
      break;
    case Kind::kUnlinked:
      make_unlinked(i);
      break;
    case Kind::kMemory:
      if (state_.getMemoryObjects()[static_cast<unsigned>(i)].isMemfd()) {
        make_memfd(i);
      } else {
        make_anonymous(i);
      }
      break;
    case Kind::kSystemV:
      make_segment(i, obstacles);
      break;
    case Kind::kUnused:
    case Kind::kFile:
      break;
    }
  }
}

MemoryObjects::~MemoryObjects() {
  for (Object& object : objects_) {
    if (object.local != nullptr) {
      if (!kept_ && !object.former_contents.empty()) {
        std::memcpy(object.local, object.former_contents.data(), object.former_contents.size());
      }
      ::shmdt(object.local);
    }
    if (object.segment >= 0 && (object.segment_dies || (object.segment_made_here && !kept_))) {
      ::shmctl(object.segment, IPC_RMID, nullptr);
    }
  }
}

void MemoryObjects::open_file(std::size_t index, const Use& use) {
  schema::MemoryObject::Reader stored = state_.getMemoryObjects()[static_cast<unsigned>(index)];
  schema::FileIdentity::Reader identity = stored.getFile();
  Object& object = objects_[index];
  object.kind = Kind::kFile;
  object.name = text_of(identity.getPath());
  if (identity.getDeleted()) {
    throw Error(ErrorCode::kBackingFile, "the file had been deleted when the checkpoint was made")
        .in_file(object.name)
        .with_hint("capture with the contents of mapped files");
  }
  object.name = resolve_path(identity, options_.files);
  try {
    object.read_only = open_identity(identity, options_.files, O_RDONLY);
    if (use.shared_writable || use.may_become_writable) {
      object.writable = open_identity(identity, options_.files, O_RDWR);
    }
  } catch (const Error& error) {
    if (!object.read_only || use.shared_writable) { // else it stays read-only
      throw naming_build_id(error, identity);
    }
  }
  if (is_embedded(stored)) {
    compare_contents(object, stored);
  } else {
    check_identity(object.read_only.get(), object.name, identity, options_.files.verify_digests);
  }
}

// Whether an embedded file has the bytes that are stored of it. Its times say nothing: they do not
// change with writes through a mapping of a file system in memory.
void MemoryObjects::compare_contents(const Object& object,
                                     schema::MemoryObject::Reader stored) const {
  const Error changed = Error(ErrorCode::kBackingFile, "its contents changed").in_file(object.name);
  struct stat status;
  if (::fstat(object.read_only.get(), &status) != 0 || !S_ISREG(status.st_mode) ||
      static_cast<std::uint64_t>(status.st_size) != object.length) {
    throw changed;
  }
  const std::uint64_t page_size = reader_.header().page_size;
  std::vector<std::byte> buffer;
  std::uint64_t offset = 0;
  auto compare = [&](std::span<const std::byte> expected) {
    buffer.assign(expected.size(), std::byte{0}); // bytes beyond the end count as zero
    ssize_t n =
        ::pread(object.read_only.get(), buffer.data(), buffer.size(), static_cast<off_t>(offset));
    if (n < 0 || std::memcmp(buffer.data(), expected.data(), expected.size()) != 0) {
      throw changed;
    }
    offset += expected.size();
  };
  for (schema::PageRun::Reader run : stored.getRuns()) {
    if (is_of_stream(run.getKind())) {
      reader_.source(run).read_stream(run.getFirst(), run.getPages(), compare);
    } else if (run.getKind() == schema::RunKind::ZERO) {
      const std::vector<std::byte> zeros(page_size);
      for (std::uint64_t i = 0; i < run.getPages(); ++i) {
        compare(zeros);
      }
    } else {
      offset += run.getPages() * page_size;
    }
  }
}

// A descriptor of what a mapping of this process maps: memory that has no name under which it could
// be opened. Empty without CAP_CHECKPOINT_RESTORE (proc(5), /proc/PID/map_files).
ScopedFd MemoryObjects::open_mapped(const void* memory, std::uint64_t size) {
  const auto start = reinterpret_cast<std::uint64_t>(memory);
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  char path[80];
  std::snprintf(path, sizeof path, "/proc/self/map_files/%" PRIx64 "-%" PRIx64, start,
                start + align_up(size, page));
  return ScopedFd(::open(path, O_RDWR | O_CLOEXEC));
}

void MemoryObjects::adopt_memory_file(Object& object, ScopedFd file) {
  if (::ftruncate(file.get(), static_cast<off_t>(object.length)) != 0) {
    throw system_error(errno,
                       "cannot give " + std::to_string(object.length) + " bytes to " + object.name);
  }
  object.read_only = reopen(file.get(), O_RDONLY);
  object.writable = std::move(file);
}

void MemoryObjects::make_stand_in(std::size_t index) {
  Object& object = objects_[index];
  object.read_only.reset();
  object.writable.reset();
  const std::size_t slash = object.name.rfind('/');
  adopt_memory_file(
      object, make_memory_file(
                  slash == std::string::npos ? object.name : object.name.substr(slash + 1), true));
}

// In the directory where it was, so that it is on the same file system, and with the name that it
// had, by which /proc/PID/fd shows it; where somebody has that now, without.
void MemoryObjects::make_unlinked(std::size_t index) {
  Object& object = objects_[index];
  const std::size_t slash = object.name.rfind('/');
  const std::string own = object.name.substr(0, std::max<std::size_t>(slash, 1));
  const bool was_named = object.name.compare(slash + 1, 1, "#") != 0; // else made by O_TMPFILE
  ScopedFd file = was_named ? make_and_unlink(object.name) : ScopedFd();
  for (const std::string& directory : {own, std::string("/tmp")}) {
    if (!file) {
      file = ScopedFd(::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    }
  }
  if (!file) {
    file = make_memory_file(object.name.substr(slash + 1), true);
  }
  adopt_memory_file(object, std::move(file));
}

void MemoryObjects::make_memfd(std::size_t index) {
  schema::Memfd::Reader stored = state_.getMemoryObjects()[static_cast<unsigned>(index)].getMemfd();
  Object& object = objects_[index];
  constexpr std::uint32_t kExecutable = 0111;
  const bool executable =
      (stored.getSeals() & F_SEAL_EXEC) == 0 ||
      (stored.getMode() != kNotRecorded && (stored.getMode() & kExecutable) != 0);
  object.original = make_memory_file(text_of(stored.getName()), executable);
  adopt_memory_file(object, reopen(object.original.get(), O_RDWR));
}

// Shared anonymous memory has no name under which another process could map it; the kernel's
// directory of mapped files (proc(5), /proc/PID/map_files) opens it all the same, for those who
// have CAP_CHECKPOINT_RESTORE. For others a memory file has to do.
void MemoryObjects::make_anonymous(std::size_t index) {
  Object& object = objects_[index];
  const std::uint64_t size = std::max<std::uint64_t>(object.length, 1);
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    throw system_error(errno, "cannot make shared memory of " + std::to_string(size) + " bytes");
  }
  ScopedFd file = open_mapped(memory, size);
  ::munmap(memory, size);
  if (file) {
    object.read_only = reopen(file.get(), O_RDONLY);
    object.writable = std::move(file);
  } else {
    adopt_memory_file(object, make_memory_file("shared", true));
  }
}

// A segment with the stored key may be there: it outlived the captured process, or belongs to
// somebody else. Nothing of it is changed here.
void MemoryObjects::plan_segment(std::size_t index, Obstacles& obstacles) {
  schema::SystemVSegment::Reader stored =
      state_.getMemoryObjects()[static_cast<unsigned>(index)].getSystemV();
  Object& object = objects_[index];
  object.kind = Kind::kSystemV;
  char name[64];
  std::snprintf(name, sizeof name, "System V shared memory %d (key 0x%08x)", stored.getId(),
                static_cast<unsigned>(stored.getKey()));
  object.name = name;
  object.segment_key = stored.getKey();
  object.segment_dies = (mode_of(stored) & kSegmentDies) != 0;
  if (object.segment_key == IPC_PRIVATE) {
    return;
  }
  const int existing = ::shmget(object.segment_key, 0, 0);
  shmid_ds status{};
  if ((existing >= 0 || errno != ENOENT) && object.segment_dies) {
    object.segment_key = IPC_PRIVATE; // its own had been marked for removal: the key was free
    return;
  }
  if (existing < 0) {
    if (errno != ENOENT) {
      obstacles.add(ErrorCode::kPermission,
                    object.name + ": its key is taken: " + std::strerror(errno));
    }
    return;
  }
  if (::shmctl(existing, IPC_STAT, &status) != 0) {
    obstacles.add(ErrorCode::kPermission, object.name +
                                              ": its key is taken by a segment that "
                                              "cannot be examined: " +
                                              std::strerror(errno));
    return;
  }
  if (status.shm_nattch != 0 || align_up(status.shm_segsz, 4096) != object.length) {
    obstacles.add_unless_allowed(ErrorCode::kIdInUse, "new-ids",
                                 "the key of " + object.name + " is taken by another segment",
                                 "a private segment takes its place");
    object.segment_key = IPC_PRIVATE;
    return;
  }
  object.existing = existing;
  if (holds_stored(index, existing)) {
    return;
  }
  // Whoever used it last wrote what is in it.
  bool of_captured = false;
  for (schema::Process::Reader process : state_.getProcesses()) {
    of_captured = of_captured || process.getPid() == status.shm_lpid;
  }
  const std::string since = object.name + " was written to since the checkpoint was made";
  if (of_captured) {
    obstacles.warn(since + " (by the captured process); it is as it was at the checkpoint again");
  } else {
    obstacles.add_unless_allowed(ErrorCode::kBackingFile, "segment",
                                 since + " (last by process " + std::to_string(status.shm_lpid) +
                                     ")",
                                 "what was written is lost");
  }
}

// Whether a segment has the bytes that are stored of it.
bool MemoryObjects::holds_stored(std::size_t index, int segment) const {
  void* memory = ::shmat(segment, nullptr, SHM_RDONLY);
  if (memory == reinterpret_cast<void*>(-1)) {
    return false;
  }
  const std::uint64_t page_size = reader_.header().page_size;
  const std::uint64_t length = objects_[index].length;
  const std::vector<std::byte> zeros(page_size);
  const auto* bytes = static_cast<const std::byte*>(memory);
  std::uint64_t offset = 0;
  bool same = true;
  auto compare = [&](std::span<const std::byte> expected) {
    const std::size_t size = std::min<std::uint64_t>(expected.size(), length - offset);
    same = same && std::memcmp(bytes + offset, expected.data(), size) == 0;
    offset += size;
  };
  for (schema::PageRun::Reader run :
       state_.getMemoryObjects()[static_cast<unsigned>(index)].getRuns()) {
    if (!same || offset >= length) {
      break;
    }
    if (is_of_stream(run.getKind())) {
      reader_.source(run).read_stream(run.getFirst(), run.getPages(), compare);
    } else {
      for (std::uint64_t i = 0; same && i < run.getPages() && offset < length; ++i) {
        compare(zeros);
      }
    }
  }
  ::shmdt(memory);
  return same;
}

void MemoryObjects::make_segment(std::size_t index, Obstacles& obstacles) {
  schema::SystemVSegment::Reader stored =
      state_.getMemoryObjects()[static_cast<unsigned>(index)].getSystemV();
  Object& object = objects_[index];
  if (object.existing >= 0) {
    object.segment = object.existing;
  } else {
    object.segment = keeper_->make(object.segment_key, object.length,
                                   static_cast<int>(mode_of(stored) & 0777), stored.getId());
    if (object.segment < 0) {
      throw system_error(-object.segment, "cannot make " + object.name);
    }
    object.segment_made_here = true;
  }
  if (object.segment != stored.getId()) {
    obstacles.warn(object.name + " has the identifier " + std::to_string(object.segment) + " now");
  }
  void* memory = ::shmat(object.segment, nullptr, 0);
  if (memory == reinterpret_cast<void*>(-1)) {
    throw system_error(errno, "cannot attach " + object.name);
  }
  object.local = memory;
  object.writable = open_mapped(memory, object.length); // for private mappings of it
  if (!object.segment_made_here) {
    const auto* bytes = static_cast<const std::byte*>(memory);
    object.former_contents.assign(bytes, bytes + object.length);
    std::memset(memory, 0, object.length);
    return;
  }
  shmid_ds status{};
  if (stored.getUid() != kNotRecorded && stored.getGid() != kNotRecorded &&
      ::shmctl(object.segment, IPC_STAT, &status) == 0 &&
      (status.shm_perm.uid != stored.getUid() || status.shm_perm.gid != stored.getGid())) {
    status.shm_perm.uid = stored.getUid();
    status.shm_perm.gid = stored.getGid();
    if (::shmctl(object.segment, IPC_SET, &status) != 0) {
      obstacles.warn(object.name + " has another owner: " + std::strerror(errno));
    }
  }
}

int MemoryObjects::descriptor(std::size_t index, bool writable) const {
  const Object& object = objects_[index];
  if (object.kind == Kind::kSystemV) {
    return object.writable.get();
  }
  if (writable && object.original) {
    return object.original.get();
  }
  return writable && object.writable ? object.writable.get() : object.read_only.get();
}

std::vector<PageCopy> MemoryObjects::contents() const {
  const std::uint64_t page_size = reader_.header().page_size;
  std::vector<PageCopy> copies;
  for (std::size_t i = 0; i < objects_.size(); ++i) {
    const Object& object = objects_[i];
    if (object.kind == Kind::kUnused || object.kind == Kind::kFile) {
      continue;
    }
    std::uint64_t offset = 0;
    for (schema::PageRun::Reader run :
         state_.getMemoryObjects()[static_cast<unsigned>(i)].getRuns()) {
      if (offset >= object.length) {
        break;
      }
      const std::uint64_t left = object.length - offset;
      const std::uint64_t bytes =
          run.getPages() > left / page_size ? left : run.getPages() * page_size;
      if (is_of_stream(run.getKind())) {
        PageCopy copy;
        copy.source = &reader_.source(run);
        copy.first = run.getFirst();
        copy.bytes = bytes;
        if (object.local != nullptr) {
          copy.target.kind = PageTarget::Kind::kMemory;
          copy.target.position = reinterpret_cast<std::uint64_t>(object.local) + offset;
        } else {
          copy.target.kind = PageTarget::Kind::kDescriptor;
          copy.target.descriptor = object.writable.get();
          copy.target.position = offset;
        }
        copies.push_back(copy);
      } // A stand-in lacks what nobody had mapped: such ranges of an embedded file are not stored.
      offset += bytes;
    }
  }
  return copies;
}

std::vector<std::string> MemoryObjects::finish() {
  std::vector<std::string> warnings;
  auto stored = state_.getMemoryObjects();
  for (std::size_t i = 0; i < objects_.size(); ++i) {
    const schema::MemoryObject::Reader object = stored[static_cast<unsigned>(i)];
    if (!objects_[i].writable) {
      continue;
    }
    if (objects_[i].kind == Kind::kUnlinked) {
      const schema::FileIdentity::Reader file = object.getFile();
      set_ownership(objects_[i], file.getUid(), file.getGid(),
                    file.getMode() == 0 ? kNotRecorded : file.getMode() & 07777,
                    file.getModifiedAt(), warnings);
    } else if (object.isMemfd()) {
      const schema::Memfd::Reader memfd = object.getMemfd();
      set_ownership(objects_[i], memfd.getUid(), memfd.getGid(), memfd.getMode(),
                    memfd.getModifiedAt(), warnings);
      const int fd = objects_[i].writable.get();
      const auto seals = static_cast<int>(memfd.getSeals());
      if (::fcntl(fd, F_GET_SEALS) != seals && ::fcntl(fd, F_ADD_SEALS, seals) != 0) {
        warnings.push_back(objects_[i].name +
                           ": setting its seals failed: " + std::strerror(errno));
      }
    }
  }
  return warnings;
}

void MemoryObjects::set_ownership(const Object& object, std::uint32_t uid, std::uint32_t gid,
                                  std::uint32_t mode, std::int64_t modified_at,
                                  std::vector<std::string>& warnings) {
  const int fd = object.writable.get();
  auto warn = [&](const char* what) {
    warnings.push_back(object.name + ": setting its " + what + " failed: " + std::strerror(errno));
  };
  struct stat status {};
  if (::fstat(fd, &status) != 0) {
    return;
  }
  if (uid != kNotRecorded && gid != kNotRecorded &&
      (status.st_uid != uid || status.st_gid != gid) && ::fchown(fd, uid, gid) != 0) {
    warn("owner");
  }
  if (mode != kNotRecorded && (status.st_mode & 07777) != mode && ::fchmod(fd, mode) != 0) {
    warn("mode");
  }
  constexpr std::int64_t kSecond = 1'000'000'000;
  const timespec times[2] = {{0, UTIME_OMIT}, {modified_at / kSecond, modified_at % kSecond}};
  if (modified_at != INT64_MIN && ::futimens(fd, times) != 0) {
    warn("time of modification");
  }
}

void MemoryObjects::keep() {
  keep_later()->keep();
}

std::unique_ptr<SegmentKeeper> MemoryObjects::keep_later() {
  kept_ = true;
  return std::exchange(keeper_, std::make_unique<SegmentKeeper>());
}

} // namespace rrpcp::process::restore
