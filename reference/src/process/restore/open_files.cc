#include "process/restore/open_files.h"

#include "model/backing_file.h"
#include "process/carried.h"
#include "process/proc_file.h"
#include "process/proc_status.h"
#include "process/restore/file_identity.h"
#include "process/restore/kernel_files.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <span>
#include <string_view>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <utility>

namespace rrpcp::process::restore {

namespace {

// End of a lock that reaches to the end of the file, however long it becomes.
constexpr std::uint64_t kToTheEnd = INT64_MAX;
// What fcntl(2) F_SETFL can change. O_ASYNC is left to the process: it needs an owner.
constexpr int kSettable = O_APPEND | O_NONBLOCK | O_DIRECT | O_NOATIME;
// The kernel's bit of O_TMPFILE (asm-generic/fcntl.h), which F_GETFL shows too.
constexpr int kTmpfileBit = 020000000;
// What 64-bit programs get from open(2), but not from pipe(2) (asm-generic/fcntl.h; O_LARGEFILE of
// the C library is 0 there).
constexpr int kLargeFileBit = 0100000;

int status_flags(schema::OpenFile::Reader file) {
  return static_cast<int>(file.getFlags()) &
         ~(O_CREAT | O_EXCL | O_TRUNC | O_CLOEXEC | kTmpfileBit);
}

ScopedFd open_null(int flags) {
  ScopedFd null(::open("/dev/null", (flags & O_ACCMODE) | O_CLOEXEC));
  if (!null) {
    throw system_error(errno, "cannot open").in_file("/dev/null");
  }
  return null;
}

// asm-generic/ioctls.h: for the structure of asm/termbits.h, which <termios.h> excludes.
constexpr std::size_t kTerminalAttributesSize = 44; // struct termios2
constexpr unsigned long kSetAttributes = _IOC(_IOC_WRITE, 'T', 0x2B, kTerminalAttributesSize);

struct flock lock_description(schema::FileLock::Reader lock) {
  struct flock description {};
  description.l_type = lock.getExclusive() ? F_WRLCK : F_RDLCK;
  description.l_whence = SEEK_SET;
  description.l_start = static_cast<off_t>(lock.getStart());
  description.l_len =
      lock.getEnd() >= kToTheEnd ? 0 : static_cast<off_t>(lock.getEnd() - lock.getStart() + 1);
  return description;
}

// A file to which the process itself was adding when it was captured, and which has more now: what
// it went on to write after a capture, or others who write to the same log.
bool has_grown(int fd, schema::OpenFile::Reader file, schema::FileIdentity::Reader identity) {
  const int flags = status_flags(file);
  struct stat status {};
  return (flags & O_ACCMODE) != O_RDONLY &&
         ((flags & O_APPEND) != 0 || file.getOffset() == identity.getSize()) &&
         identity.getDigests().size() == 0 && ::fstat(fd, &status) == 0 &&
         S_ISREG(status.st_mode) && static_cast<std::uint64_t>(status.st_size) > identity.getSize();
}

// What somebody could notice when it is opened, or what is made only then: after everything was
// judged.
bool is_acquired_late(schema::OpenFile::Reader file, std::int32_t pid) {
  return (file.isSocketEnd() && has_maker(file.getSocketEnd(), pid)) || file.isFifo() ||
         file.isDevice() || file.isMemfd() ||
         (file.isRegular() && file.getContentsObject() != schema::NO_INDEX);
}

// Whether the lock can be had, which no call but flock(2) itself tells.
void probe_flock(int fd, bool exclusive, const std::string& who, Obstacles& obstacles) {
  if (::flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0) {
    ::flock(fd, LOCK_UN);
    return;
  }
  obstacles.add(ErrorCode::kBackingFile,
                who + ": the lock that it held cannot be taken: " +
                    (errno == EWOULDBLOCK ? "another process has it" : std::strerror(errno)));
}

// What a file of proc(5) or sysfs(5) contains is made when it is read: it cannot have changed.
bool is_made_when_read(int fd) {
  struct statfs status;
  return ::fstatfs(fd, &status) == 0 &&
         (status.f_type == PROC_SUPER_MAGIC || status.f_type == SYSFS_MAGIC);
}

bool may_change_ids() {
  constexpr std::uint64_t kNeeded = std::uint64_t{1} << CAP_SETUID | std::uint64_t{1} << CAP_SETGID;
  const ProcStatus self = ProcStatus::parse(read_proc_file("/proc/thread-self/status"));
  return (self.effective & kNeeded) == kNeeded;
}

// As the kernel lays it out for epoll_ctl(2) on x86-64.
struct [[gnu::packed]] EpollEvent {
  std::uint32_t events;
  std::uint64_t data;
};

} // namespace

OpenFiles::OpenFiles(const CheckpointReader& reader, const MemoryObjects& objects,
                     const RestoreOptions& options, Obstacles& obstacles)
    : reader_(reader), state_(reader.state()), options_(options) {
  const std::size_t count = state_.getOpenFiles().size();
  files_.resize(count);
  std::vector<bool> wanted(count);
  for (schema::FileTable::Reader table : state_.getFileTables()) {
    int last = -1;
    for (schema::FileDescriptor::Reader descriptor : table.getDescriptors()) {
      if (descriptor.getFd() <= last || descriptor.getOpenFile() >= count) {
        throw Error(ErrorCode::kDamaged, "the file table is not in order, or descriptor " +
                                             std::to_string(descriptor.getFd()) +
                                             " refers to an open file that does not exist")
            .in_file(reader.name());
      }
      last = descriptor.getFd();
      wanted[descriptor.getOpenFile()] = true;
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    files_[i].wanted = wanted[i];
  }
  const std::int32_t pid = state_.getProcesses()[0].getPid();
  for (std::size_t i = 0; i < count; ++i) {
    if (wanted[i] && !is_acquired_late(state_.getOpenFiles()[static_cast<unsigned>(i)], pid)) {
      try_open(i, objects, obstacles);
    }
  }
  // Only the ends that descriptors refer to stay open, so that readers see the end of a pipe.
  pipes_.clear();
}

void OpenFiles::acquire(const MemoryObjects& objects, Obstacles& obstacles) {
  if (std::exchange(acquired_, true)) {
    return;
  }
  auto stored = state_.getOpenFiles();
  const std::int32_t pid = state_.getProcesses()[0].getPid();
  for (std::size_t i = 0; i < files_.size(); ++i) {
    const schema::OpenFile::Reader file = stored[static_cast<unsigned>(i)];
    if (files_[i].wanted && is_acquired_late(file, pid)) {
      try_open(i, objects, obstacles);
    }
    for (schema::FileLock::Reader lock : file.getLocks()) {
      if (files_[i].opened && lock.getKind() == schema::FileLock::Kind::FLOCK) {
        probe_flock(files_[i].opened.get(), lock.getExclusive(), who_uses(i), obstacles);
      }
    }
  }
}

void OpenFiles::try_open(std::size_t index, const MemoryObjects& objects, Obstacles& obstacles) {
  try {
    open(index, objects, obstacles);
  } catch (const Error& error) {
    const Error with_user(error.code(), who_uses(index) + ": " + error.message());
    obstacles.add(with_user.in_file(error.file()).with_errno(error.errno_value()));
  }
}

std::string OpenFiles::who_uses(std::size_t index) const {
  std::vector<std::int32_t> numbers;
  for (schema::FileTable::Reader table : state_.getFileTables()) {
    for (schema::FileDescriptor::Reader descriptor : table.getDescriptors()) {
      if (descriptor.getOpenFile() == index) {
        numbers.push_back(descriptor.getFd());
      }
    }
  }
  return name_descriptors(numbers);
}

void OpenFiles::open(std::size_t index, const MemoryObjects& objects, Obstacles& obstacles) {
  schema::OpenFile::Reader file = state_.getOpenFiles()[static_cast<unsigned>(index)];
  File& out = files_[index];
  const std::string who = who_uses(index);
  const int flags = status_flags(file);
  if (!own_proc_path(file).empty()) {
    out.opened = open_null(O_RDWR); // a place for what the process itself opens
    return;
  }
  const bool carried = judge_open_file(file, who, state_.getProcesses()[0].getPid()).empty();
  switch (file.which()) {
  case schema::OpenFile::REGULAR:
    out.opened = file.getContentsObject() != schema::NO_INDEX
                     ? open_unlinked(file, objects)
                     : open_regular(file, file.getRegular(), who, obstacles);
    break;
  case schema::OpenFile::DIRECTORY:
    out.opened = open_path(file, file.getDirectory(), O_DIRECTORY);
    if ((flags & O_DIRECTORY) == 0) { // so it was opened, and so F_GETFL shows it
      out.opened = reopen(out.opened.get(), flags);
    }
    break;
  case schema::OpenFile::PATH:
    out.opened = open_path(file, file.getPath(), O_PATH);
    return; // such a descriptor has neither offset nor flags nor locks
  case schema::OpenFile::FIFO:
    out.opened = open_fifo(file);
    break;
  case schema::OpenFile::DEVICE:
    out.opened = open_device(file);
    break;
  case schema::OpenFile::TERMINAL:
    out.opened = open_null(flags);
    out.inherit = true;
    return;
  case schema::OpenFile::PIPE:
    if (file.getPipe().getExternal()) {
      out.opened = open_null(flags);
      out.inherit = true;
      return;
    }
    out.opened = open_pipe_end(file, obstacles);
    break;
  case schema::OpenFile::SOCKET:
    out.opened = make_replacement_socket(file);
    break;
  case schema::OpenFile::SOCKET_END:
    if (carried) {
      find_peer(file.getSocketEnd());
      if (has_other_maker(file.getSocketEnd()) && !may_change_ids()) {
        obstacles.add(ErrorCode::kPermission,
                      who + ": a pair of sockets made by user " +
                          std::to_string(file.getSocketEnd().getPeerUid()) + ", group " +
                          std::to_string(file.getSocketEnd().getPeerGid()) +
                          " (SO_PEERCRED): only that user or root can restore it");
      }
      out.made_by_another = has_maker(file.getSocketEnd(), state_.getProcesses()[0].getPid());
      out.opened =
          out.made_by_another ? open_end_of_another(index, file.getSocketEnd()) : open_null(O_RDWR);
      out.made_inside = true;
      return;
    }
    out.opened = make_replacement_socket(file);
    break;
  case schema::OpenFile::TIMERFD:
    out.opened = make_timerfd(file.getTimerfd());
    break;
  case schema::OpenFile::SIGNALFD:
    out.opened = make_signalfd(file.getSignalfd());
    break;
  case schema::OpenFile::INOTIFY:
    check_watched_paths(file, who, obstacles);
    out.opened = make_inotify();
    break;
  case schema::OpenFile::PIDFD:
    if (!carried) {
      out.opened = open_null(flags);
      return;
    }
    if (file.getPidfd().getPid() != -1) {
      out.opened = open_null(O_RDWR);
      out.made_inside = true;
      return;
    }
    out.opened = make_ended_pidfd();
    break;
  case schema::OpenFile::EVENTFD: {
    auto eventfd = file.getEventfd();
    out.opened = ScopedFd(::eventfd(0, EFD_CLOEXEC | (eventfd.getSemaphore() ? EFD_SEMAPHORE : 0)));
    const std::uint64_t count = eventfd.getCount();
    if (!out.opened ||
        (count != 0 && ::write(out.opened.get(), &count, sizeof count) != sizeof count)) {
      throw system_error(errno, "cannot make an eventfd");
    }
    break;
  }
  case schema::OpenFile::EPOLL:
    out.opened = ScopedFd(::epoll_create1(EPOLL_CLOEXEC));
    if (!out.opened) {
      throw system_error(errno, "cannot make an epoll");
    }
    break;
  case schema::OpenFile::MEMFD:
    out.opened = open_memfd(file, objects);
    break;
  case schema::OpenFile::OTHER: {
    const std::string path = own_namespace_file(file.getOther().getDescription().cStr());
    if (path.empty()) {
      out.opened = open_null(flags);
      return;
    }
    out.opened = ScopedFd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!out.opened) {
      throw system_error(errno, "cannot open the namespace").in_file(path);
    }
    break;
  }
  default: // judge_state() has refused it, or it was allowed
    out.opened = open_null(flags);
    return;
  }
  if (out.opened) {
    finish(out.opened, file, who, obstacles);
  }
}

ScopedFd OpenFiles::open_path(schema::OpenFile::Reader file, schema::FileIdentity::Reader identity,
                              int extra_flags) {
  int flags = status_flags(file);
  if ((extra_flags & O_PATH) != 0) {
    flags &= O_DIRECTORY | O_NOFOLLOW;
  }
  return open_identity(identity, options_.files, flags | extra_flags);
}

ScopedFd OpenFiles::open_regular(schema::OpenFile::Reader file,
                                 schema::FileIdentity::Reader identity, const std::string& who,
                                 Obstacles& obstacles) {
  const int flags = status_flags(file);
  if (identity.getDeleted()) {
    if (!obstacles.allowed("deleted-file")) {
      return {}; // judge_state() has refused it
    }
    ScopedFd unnamed(::open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (!unnamed || ::ftruncate(unnamed.get(), static_cast<off_t>(identity.getSize())) != 0) {
      throw system_error(errno, "cannot make an unnamed file").in_file("/tmp");
    }
    return reopen(unnamed.get(), flags);
  }
  ScopedFd opened;
  try {
    opened = open_identity(identity, options_.files, flags);
  } catch (const Error& error) {
    if (error.errno_value() != EPERM || (flags & O_NOATIME) == 0) {
      throw;
    }
    opened = open_identity(identity, options_.files, flags & ~O_NOATIME); // only for the owner
  }
  if (is_made_when_read(opened.get())) {
    return opened;
  }
  const std::string path = resolve_path(identity, options_.files);
  try {
    if ((flags & O_ACCMODE) == O_WRONLY) { // needs another descriptor to look at the content
      ScopedFd readable(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
      check_identity(readable ? readable.get() : opened.get(), path, identity,
                     options_.files.verify_digests);
    } else {
      check_identity(opened.get(), path, identity, options_.files.verify_digests);
    }
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kBackingFile) {
      throw;
    }
    if (has_grown(opened.get(), file, identity)) {
      obstacles.warn(who + ": " + path +
                     ", to which the process was writing, has grown since: it goes on writing " +
                     ((flags & O_APPEND) != 0 ? "behind what was added"
                                              : "where it was, over what was added"));
      return opened;
    }
    obstacles.add_unless_allowed(ErrorCode::kBackingFile, "changed-file",
                                 who + ": " + path + ": " + error.message(),
                                 "it is opened as it is now");
  }
  return opened;
}

ScopedFd OpenFiles::open_fifo(schema::OpenFile::Reader file) {
  schema::FileIdentity::Reader identity = file.getFifo();
  // Held open both ways meanwhile, so that opening one way does not wait or fail.
  ScopedFd both = open_identity(identity, options_.files, O_RDWR, S_IFIFO);
  struct stat status;
  if (::fstat(both.get(), &status) != 0 || !S_ISFIFO(status.st_mode)) {
    throw Error(ErrorCode::kBackingFile, "it is no FIFO any more")
        .in_file(text_of(identity.getPath()));
  }
  return open_identity(identity, options_.files, status_flags(file), S_IFIFO);
}

ScopedFd OpenFiles::open_device(schema::OpenFile::Reader file) {
  auto device = file.getDevice();
  const std::string path = text_of(device.getPath());
  ScopedFd opened(::open(path.c_str(), status_flags(file) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  struct stat status;
  if (!opened) {
    throw Error(ErrorCode::kBackingFile, "cannot open the device").with_errno(errno).in_file(path);
  }
  if (::fstat(opened.get(), &status) != 0 ||
      (!S_ISCHR(status.st_mode) && !S_ISBLK(status.st_mode)) ||
      status.st_rdev != device.getNumber()) {
    throw Error(ErrorCode::kBackingFile, "it is another device now").in_file(path);
  }
  return opened;
}

// A pipe belongs to the user who makes it, and nobody else may open it again (/dev/fd/N,
// /dev/stdin).
void OpenFiles::give_to_user(int pipe, Obstacles& obstacles) const {
  const schema::Process::Reader process = state_.getProcesses()[0];
  if (!process.hasCredentials()) {
    return;
  }
  const uid_t uid = process.getCredentials().getFileSystemUid();
  const gid_t gid = process.getCredentials().getFileSystemGid();
  struct stat status {};
  if (::fstat(pipe, &status) == 0 && (status.st_uid != uid || status.st_gid != gid) &&
      ::fchown(pipe, uid, gid) != 0) {
    obstacles.warn("a pipe belongs to this program's user: " + std::string(std::strerror(errno)));
  }
}

ScopedFd OpenFiles::open_pipe_end(schema::OpenFile::Reader file, Obstacles& obstacles) {
  auto pipe = file.getPipe();
  PipeEnds& ends = pipes_[pipe.getId()];
  if (!ends.read) {
    int descriptors[2];
    if (::pipe2(descriptors, O_CLOEXEC | O_NONBLOCK) != 0) {
      throw system_error(errno, "cannot make a pipe");
    }
    ends.read = ScopedFd(descriptors[0]);
    ends.write = ScopedFd(descriptors[1]);
    const int capacity = static_cast<int>(std::min<std::uint64_t>(pipe.getCapacity(), INT32_MAX));
    if (capacity > 0 && ::fcntl(ends.read.get(), F_GETPIPE_SZ) != capacity &&
        ::fcntl(ends.read.get(), F_SETPIPE_SZ, capacity) < 0) {
      obstacles.warn("a pipe has not the capacity it had: " + std::string(std::strerror(errno)));
    }
    give_to_user(ends.read.get(), obstacles);
  }
  auto contents = pipe.getContents();
  if (contents.size() != 0 && !ends.filled) {
    ends.filled = true;
    if (::write(ends.write.get(), contents.begin(), contents.size()) !=
        static_cast<ssize_t>(contents.size())) {
      throw Error(ErrorCode::kUnsupportedState, "the contents of a pipe do not fit into it");
    }
  }
  const int flags = status_flags(file);
  const bool reads = (flags & O_ACCMODE) == O_RDONLY;
  const int end = reads ? ends.read.get() : ends.write.get();
  if ((flags & kLargeFileBit) != 0 || (flags & O_ACCMODE) == O_RDWR) { // opened by /proc/PID/fd
    return reopen(end, flags & ~O_DIRECT);
  }
  ScopedFd own(::fcntl(end, F_DUPFD_CLOEXEC, 0));
  if (!own) {
    throw system_error(errno, "cannot duplicate the end of a pipe");
  }
  return own;
}

ScopedFd OpenFiles::open_unlinked(schema::OpenFile::Reader file, const MemoryObjects& objects) {
  const int descriptor = objects.descriptor(file.getContentsObject(), true);
  if (descriptor < 0) {
    throw Error(ErrorCode::kDamaged, "the contents of a file without a name are not stored");
  }
  return reopen(descriptor, status_flags(file) & ~(O_DIRECTORY | O_NOFOLLOW));
}

std::optional<std::uint32_t> OpenFiles::find_peer(schema::SocketEnd::Reader socket) const {
  if (socket.getPeer() == 0) {
    return std::nullopt;
  }
  auto files = state_.getOpenFiles();
  for (std::uint32_t i = 0; i < files.size(); ++i) {
    if (files_[i].wanted && files[i].isSocketEnd() &&
        files[i].getSocketEnd().getId() == socket.getPeer() &&
        files[i].getSocketEnd().getPeer() == socket.getId() &&
        files[i].getSocketEnd().getId() != socket.getId()) {
      return i;
    }
  }
  throw Error(ErrorCode::kDamaged, "the other end of a pair of sockets is not stored");
}

// The pair is made when the first of its ends is opened; the other one then finds it.
ScopedFd OpenFiles::open_end_of_another(std::size_t index, schema::SocketEnd::Reader socket) {
  const std::size_t peer = *find_peer(socket);
  if (files_[peer].other_end) {
    return std::move(files_[peer].other_end);
  }
  auto [own, other] = make_pair_by_another(socket);
  files_[index].other_end = std::move(other);
  return std::move(own);
}

// What is watched is opened again by its path, when nothing of the restore can be an event any
// more.
void OpenFiles::check_watched_paths(schema::OpenFile::Reader file, const std::string& who,
                                    Obstacles& obstacles) const {
  for (schema::InotifyWatch::Reader watch : file.getInotify().getWatches()) {
    const std::string path = text_of(watch.getPath());
    struct stat status {};
    if (!path.empty() && ::lstat(path.c_str(), &status) != 0) {
      obstacles.add(ErrorCode::kBackingFile,
                    who + ": " + path + ", which an inotify watched: " + std::strerror(errno));
    } else if (!path.empty() && status.st_ino != watch.getInode()) {
      obstacles.add_unless_allowed(ErrorCode::kBackingFile, "changed-file",
                                   who + ": " + path +
                                       ", which an inotify watched, is another file",
                                   "it is watched as it is now");
    }
  }
}

ScopedFd OpenFiles::open_memfd(schema::OpenFile::Reader file, const MemoryObjects& objects) {
  const std::uint32_t object = file.getMemfd().getObject();
  const int descriptor = objects.descriptor(object, true);
  if (descriptor < 0) {
    throw Error(ErrorCode::kDamaged, "a descriptor of memory object " + std::to_string(object) +
                                         ", which is no memory file");
  }
  // The first one for reading and writing is taken to be what memfd_create(2) gave.
  if ((status_flags(file) & O_ACCMODE) == O_RDWR && given_memfds_.insert(object).second) {
    ScopedFd original(::fcntl(descriptor, F_DUPFD_CLOEXEC, 0));
    if (!original) {
      throw system_error(errno, "cannot duplicate a descriptor");
    }
    return original;
  }
  return reopen(descriptor, status_flags(file));
}

void OpenFiles::finish(ScopedFd& opened, schema::OpenFile::Reader file, const std::string& who,
                       Obstacles& obstacles) {
  const int fd = opened.get();
  const int flags = status_flags(file);
  if (::fcntl(fd, F_SETFL, flags & kSettable) != 0) {
    obstacles.warn(who + ": the status flags cannot be set: " + std::strerror(errno));
  }
  const std::uint64_t offset = file.getOffset();
  if (offset != 0 &&
      ::lseek(fd, static_cast<off_t>(offset), SEEK_SET) != static_cast<off_t>(offset)) {
    throw system_error(errno, "cannot set the position to " + std::to_string(offset));
  }
  if (file.getLocks().size() > options_.max_locks) {
    obstacles.add(ErrorCode::kLimit, who + ": it holds " + std::to_string(file.getLocks().size()) +
                                         " locks, more than the limit of " +
                                         std::to_string(options_.max_locks) + " (--max-locks)");
    return;
  }
  // Locks are taken by the process itself, in the order of the list, so that they are its own; here
  // it is only found out whether they can be.
  for (schema::FileLock::Reader lock : file.getLocks()) {
    if (lock.getKind() > schema::FileLock::Kind::LEASE) {
      obstacles.add(ErrorCode::kUnsupportedState,
                    who + ": a lock of a kind that this version does not know");
    } else if (lock.getKind() != schema::FileLock::Kind::LEASE &&
               lock.getKind() != schema::FileLock::Kind::FLOCK) { // see acquire()
      struct flock description = lock_description(lock);
      if (::fcntl(fd, F_OFD_GETLK, &description) == 0 && description.l_type != F_UNLCK) {
        obstacles.add(ErrorCode::kBackingFile,
                      who + ": a range that it had locked is locked by " +
                          (description.l_pid > 0 ? "process " + std::to_string(description.l_pid)
                                                 : "another open file"));
      }
    }
  }
}

TableFiles OpenFiles::add_to(DescriptorSet& set, std::uint32_t table) const {
  TableFiles result;
  result.table = table;
  if (table == schema::NO_INDEX) {
    return result;
  }
  for (schema::FileDescriptor::Reader descriptor : state_.getFileTables()[table].getDescriptors()) {
    const std::uint32_t index = descriptor.getOpenFile();
    const File& file = files_[index];
    if (result.files.count(index) == 0 && file.opened) {
      result.files[index] = set.add(file.opened.get());
    }
    const int fd = descriptor.getFd();
    if (file.inherit && fd <= 2 && ::fcntl(fd, F_GETFD) >= 0) {
      result.inherited[fd] = set.add(fd);
    }
  }
  return result;
}

std::vector<int> OpenFiles::numbers(std::uint32_t table) const {
  std::vector<int> numbers;
  if (table != schema::NO_INDEX) {
    for (schema::FileDescriptor::Reader descriptor :
         state_.getFileTables()[table].getDescriptors()) {
      numbers.push_back(descriptor.getFd());
    }
  }
  return numbers;
}

int OpenFiles::highest_descriptor(std::uint32_t table) const {
  if (table == schema::NO_INDEX) {
    return -1;
  }
  auto descriptors = state_.getFileTables()[table].getDescriptors();
  return descriptors.size() == 0 ? -1 : descriptors[descriptors.size() - 1].getFd();
}

// The path of a file of the process's own directory in /proc, as the process itself can open it;
// empty: it is no such file. (spec/restore.md "Files of /proc".)
std::string OpenFiles::own_proc_path(schema::OpenFile::Reader file) const {
  schema::FileIdentity::Reader identity;
  if (file.isRegular()) {
    identity = file.getRegular();
  } else if (file.isDirectory()) {
    identity = file.getDirectory();
  } else if (file.isPath()) {
    identity = file.getPath();
  } else {
    return {};
  }
  const std::string path = text_of(identity.getPath());
  const std::string_view entry = own_proc_entry(path, state_.getProcesses()[0].getPid());
  return entry.empty() ? std::string() : "/proc/self/" + std::string(entry);
}

// The place is a descriptor of the row; number 0 is free while descriptors are put in their places.
void OpenFiles::add_own_proc_ops(OpList& ops, const DescriptorSet& set,
                                 const TableFiles& files) const {
  for (auto [index, place] : files.files) {
    schema::OpenFile::Reader file = state_.getOpenFiles()[index];
    const std::string path = own_proc_path(file);
    if (path.empty()) {
      continue;
    }
    int flags = status_flags(file) | O_CLOEXEC;
    if (file.isPath()) {
      flags = O_PATH | O_CLOEXEC | (flags & (O_DIRECTORY | O_NOFOLLOW));
    }
    ops.system_call({"opening", path}, SYS_openat, AT_FDCWD, ops.arena().place_string(path), flags);
    if (file.getOffset() != 0) {
      ops.system_call({"setting the position of", path, OpFailure::Policy::kWarn}, SYS_lseek, 0,
                      file.getOffset(), SEEK_SET);
    }
    ops.system_call({"opening", path}, SYS_dup3, 0, set.number(place), O_CLOEXEC);
    ops.system_call({"opening", path}, SYS_close, 0);
  }
}

// As for files of /proc: 0 and 1 are free.
void OpenFiles::add_socket_ops(OpList& ops, const DescriptorSet& set,
                               const TableFiles& files) const {
  for (auto [index, place] : files.files) {
    const schema::OpenFile::Reader file = state_.getOpenFiles()[index];
    if (!file.isSocketEnd() || !files_[index].made_inside) {
      continue;
    }
    const bool there = files_[index].made_by_another;
    const SocketPlace one{file, set.number(place), there};
    std::optional<SocketPlace> other;
    if (const std::optional<std::uint32_t> peer = find_peer(file.getSocketEnd())) {
      const auto found = files.files.find(*peer);
      if (*peer < index && found != files.files.end()) {
        continue; // made with that one
      }
      if (found != files.files.end()) {
        other = SocketPlace{state_.getOpenFiles()[*peer], set.number(found->second), there};
      }
    }
    add_socket_pair_ops(ops, one, other, who_uses(index));
  }
}

std::vector<std::size_t> OpenFiles::add_pidfd_ops(OpList& ops, const DescriptorSet& set,
                                                  const TableFiles& files) const {
  std::vector<std::size_t> with_own_id;
  for (auto [index, place] : files.files) {
    const schema::OpenFile::Reader file = state_.getOpenFiles()[index];
    if (!file.isPidfd() || !files_[index].made_inside) {
      continue;
    }
    const std::string who = who_uses(index);
    constexpr std::uint32_t kFlags = O_NONBLOCK | O_EXCL; // PIDFD_NONBLOCK, PIDFD_THREAD
    with_own_id.push_back(ops.system_call({"opening the pidfd of", who}, SYS_pidfd_open, 0,
                                          file.getFlags() & kFlags));
    ops.system_call({"opening the pidfd of", who}, SYS_dup3, 0, set.number(place), O_CLOEXEC);
    ops.system_call({"opening the pidfd of", who}, SYS_close, 0);
  }
  return with_own_id;
}

// A terminal that the process takes over from us gets the attributes that its own had. That is for
// a process in our foreground: one that outlives us finds it as we leave it.
void OpenFiles::add_terminal_ops(OpList& ops, const TableFiles& files) const {
  if (options_.outlives_restorer) {
    return;
  }
  std::vector<bool> done(state_.getOpenFiles().size());
  for (schema::FileDescriptor::Reader descriptor :
       state_.getFileTables()[files.table].getDescriptors()) {
    const std::uint32_t index = descriptor.getOpenFile();
    const schema::OpenFile::Reader file = state_.getOpenFiles()[index];
    const int fd = descriptor.getFd();
    if (done[index] || files.inherited.count(fd) == 0 || !file.isTerminal() ||
        !file.getTerminal().hasSettings() || ::isatty(fd) == 0) {
      continue;
    }
    done[index] = true;
    const capnp::Data::Reader attributes = file.getTerminal().getSettings().getAttributes();
    if (attributes.size() == kTerminalAttributesSize) {
      ops.system_call(
          {"setting the attributes of the terminal of", who_uses(index), OpFailure::Policy::kWarn},
          SYS_ioctl, fd, kSetAttributes,
          ops.arena().place_array(std::as_bytes(std::span(attributes.begin(), attributes.size()))));
    }
  }
}

bool OpenFiles::has_resized_terminal(const TableFiles& files) const {
  if (files.table == schema::NO_INDEX) {
    return false;
  }
  for (schema::FileDescriptor::Reader descriptor :
       state_.getFileTables()[files.table].getDescriptors()) {
    const schema::OpenFile::Reader file = state_.getOpenFiles()[descriptor.getOpenFile()];
    winsize now{};
    if (files.inherited.count(descriptor.getFd()) == 0 || !file.isTerminal() ||
        !file.getTerminal().hasSettings() || ::ioctl(descriptor.getFd(), TIOCGWINSZ, &now) != 0) {
      continue;
    }
    const schema::TerminalSettings::Reader then = file.getTerminal().getSettings();
    if (now.ws_row != then.getRows() || now.ws_col != then.getColumns()) {
      return true;
    }
  }
  return false;
}

std::vector<std::size_t> OpenFiles::add_descriptor_ops(OpList& ops, const DescriptorSet& set,
                                                       const TableFiles& files) const {
  if (files.table == schema::NO_INDEX) {
    return {};
  }
  add_own_proc_ops(ops, set, files);
  add_socket_ops(ops, set, files);
  std::vector<std::size_t> with_own_id = add_pidfd_ops(ops, set, files);
  // An inherited description is that of its first descriptor among 0, 1 and 2 for higher numbers.
  std::map<std::uint32_t, std::size_t> replacement;
  for (schema::FileDescriptor::Reader descriptor :
       state_.getFileTables()[files.table].getDescriptors()) {
    const std::uint32_t index = descriptor.getOpenFile();
    auto file = files.files.find(index);
    if (file == files.files.end()) {
      continue;
    }
    std::size_t source = file->second;
    if (auto own = files.inherited.find(descriptor.getFd()); own != files.inherited.end()) {
      source = own->second;
      replacement.try_emplace(index, source);
    } else if (auto same = replacement.find(index); same != replacement.end()) {
      source = same->second;
    }
    ops.system_call({"opening descriptor", std::to_string(descriptor.getFd())}, SYS_dup3,
                    set.number(source), descriptor.getFd(),
                    descriptor.getCloseOnExec() ? O_CLOEXEC : 0);
  }
  add_terminal_ops(ops, files);
  return with_own_id;
}

// Whether an epoll can watch what stands for a descriptor's file: /dev/null and regular files it
// cannot.
bool OpenFiles::is_watchable(std::uint32_t table, int fd) const {
  for (schema::FileDescriptor::Reader descriptor : state_.getFileTables()[table].getDescriptors()) {
    if (descriptor.getFd() == fd) {
      const schema::OpenFile::Reader file = state_.getOpenFiles()[descriptor.getOpenFile()];
      return !file.isOther() && !file.isTerminal() && !file.isDevice() &&
             !(file.isPipe() && file.getPipe().getExternal()) &&
             !(file.isPidfd() && !files_[descriptor.getOpenFile()].made_inside);
    }
  }
  return true;
}

void OpenFiles::add_watch_ops(OpList& ops, const DescriptorSet& set,
                              const TableFiles& files) const {
  for (auto [index, place] : files.files) {
    schema::OpenFile::Reader file = state_.getOpenFiles()[index];
    const int number = set.number(place);
    if (file.getOwnerSignal() != 0) {
      ops.system_call({"setting the signal of", who_uses(index), OpFailure::Policy::kWarn},
                      SYS_fcntl, number, F_SETSIG, file.getOwnerSignal());
    }
    if ((file.getFlags() & O_ASYNC) != 0) {
      ops.system_call({"setting the flags of", who_uses(index), OpFailure::Policy::kWarn},
                      SYS_fcntl, number, F_SETFL, status_flags(file) & (kSettable | O_ASYNC));
    }
    if (file.isEpoll()) {
      for (schema::EpollWatch::Reader watch : file.getEpoll().getWatches()) {
        const EpollEvent event{watch.getEvents(), watch.getData()};
        ops.system_call({"watching a descriptor by the epoll of", who_uses(index),
                         is_watchable(files.table, watch.getFd()) ? OpFailure::Policy::kFatal
                                                                  : OpFailure::Policy::kWarn},
                        SYS_epoll_ctl, number, EPOLL_CTL_ADD, watch.getFd(),
                        ops.arena().place(event));
      }
    } else if (file.isTimerfd()) {
      add_timerfd_ops(ops, number, file.getTimerfd(), state_, who_uses(index));
    } else if (file.isInotify()) {
      add_inotify_ops(ops, number, file.getInotify(), who_uses(index));
    }
  }
}

void OpenFiles::add_owner_ops(OpList& ops, const TableFiles& files) const {
  if (files.table == schema::NO_INDEX) {
    return;
  }
  std::vector<bool> done(state_.getOpenFiles().size());
  for (schema::FileDescriptor::Reader descriptor :
       state_.getFileTables()[files.table].getDescriptors()) {
    const std::uint32_t index = descriptor.getOpenFile();
    schema::OpenFile::Reader file = state_.getOpenFiles()[index];
    if (done[index] || file.getOwner() == 0 || files.inherited.count(descriptor.getFd()) != 0) {
      continue;
    }
    done[index] = true;
    f_owner_ex owner{};
    owner.type = file.getOwnerIsThread() ? F_OWNER_TID
                 : file.getOwner() < 0   ? F_OWNER_PGRP
                                         : F_OWNER_PID;
    owner.pid = file.getOwner() < 0 ? -file.getOwner() : file.getOwner();
    ops.system_call({"setting the owner of", who_uses(index), OpFailure::Policy::kWarn}, SYS_fcntl,
                    descriptor.getFd(), F_SETOWN_EX, ops.arena().place(owner));
  }
}

void OpenFiles::add_lock_ops(OpList& ops, const TableFiles& files) const {
  if (files.table == schema::NO_INDEX) {
    return;
  }
  std::vector<bool> done(state_.getOpenFiles().size());
  for (schema::FileDescriptor::Reader descriptor :
       state_.getFileTables()[files.table].getDescriptors()) {
    const std::uint32_t index = descriptor.getOpenFile();
    if (done[index]) {
      continue;
    }
    done[index] = true;
    for (schema::FileLock::Reader lock : state_.getOpenFiles()[index].getLocks()) {
      const int fd = descriptor.getFd();
      if (lock.getKind() == schema::FileLock::Kind::POSIX) {
        ops.system_call({"taking the lock held through", who_uses(index)}, SYS_fcntl, fd, F_SETLK,
                        ops.arena().place(lock_description(lock)));
      } else if (lock.getKind() == schema::FileLock::Kind::FLOCK) {
        ops.system_call({"taking the lock held through", who_uses(index)}, SYS_flock, fd,
                        (lock.getExclusive() ? LOCK_EX : LOCK_SH) | LOCK_NB);
      } else if (lock.getKind() == schema::FileLock::Kind::OPEN_FILE_DESCRIPTION) {
        ops.system_call({"taking the lock held through", who_uses(index)}, SYS_fcntl, fd,
                        F_OFD_SETLK, ops.arena().place(lock_description(lock)));
      } else if (lock.getKind() == schema::FileLock::Kind::LEASE) {
        ops.system_call(
            {"taking the lease held through", who_uses(index), OpFailure::Policy::kWarn}, SYS_fcntl,
            fd, F_SETLEASE, lock.getExclusive() ? F_WRLCK : F_RDLCK);
      }
    }
  }
}

} // namespace rrpcp::process::restore
