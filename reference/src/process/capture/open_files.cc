#include "process/capture/open_files.h"

#include "base/clock.h"
#include "process/capture/data_bytes.h"
#include "process/capture/watched_path.h"
#include "process/carried.h"
#include "process/named_file.h"
#include "process/proc_file.h"
#include "process/proc_maps.h"
#include "process/proc_status.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <array>
#include <asm/termbits.h>
#include <capnp/message.h>
#include <cerrno>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <map>
#include <poll.h>
#include <string_view>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <utility>

namespace rrpcp::process::capture {

namespace {

constexpr std::uint32_t kPathOnly = O_PATH;

std::string fd_path(pid_t tid, int fd) {
  return proc_path(tid, "fd/" + std::to_string(fd));
}

// Majors of terminals (Documentation/admin-guide/devices.txt).
bool is_terminal(dev_t number) {
  const unsigned kind = major(number);
  return kind == 4 || kind == 5 || (kind >= 136 && kind <= 143) || kind == 188 || kind == 204 ||
         kind == 229;
}

bool can_read(std::uint32_t flags) {
  return (flags & O_ACCMODE) != O_WRONLY;
}

bool can_write(std::uint32_t flags) {
  return (flags & O_ACCMODE) != O_RDONLY;
}

std::string family_name(int family) {
  switch (family) {
  case AF_UNIX:
    return "AF_UNIX";
  case AF_INET:
    return "AF_INET";
  case AF_INET6:
    return "AF_INET6";
  case AF_NETLINK:
    return "AF_NETLINK";
  case AF_PACKET:
    return "AF_PACKET";
  default:
    return "family " + std::to_string(family);
  }
}

// asm-generic/ioctls.h, for the structure of asm/termbits.h, which <termios.h> excludes.
constexpr unsigned long kGetAttributes = _IOR('T', 0x2A, struct termios2); // TCGETS2

std::string type_name(int type) {
  switch (type) {
  case SOCK_STREAM:
    return "stream";
  case SOCK_DGRAM:
    return "datagram";
  case SOCK_SEQPACKET:
    return "sequenced-packet";
  case SOCK_RAW:
    return "raw";
  default:
    return "type " + std::to_string(type);
  }
}

// Copies `length` unread bytes of a pipe without reading them.
std::string copy_pipe(int end, std::size_t length, std::uint64_t capacity) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
    throw system_error(errno, "cannot make a pipe");
  }
  ScopedFd reader(ends[0]);
  ScopedFd writer(ends[1]);
  // As many slots as the other one, so that all of its buffers fit.
  ::fcntl(writer.get(), F_SETPIPE_SZ, static_cast<int>(capacity));
  ssize_t copied = ::tee(end, writer.get(), capacity, SPLICE_F_NONBLOCK);
  std::string bytes(length, '\0');
  std::size_t got = 0;
  while (copied > 0 && got < length) {
    ssize_t n = ::read(reader.get(), bytes.data() + got, length - got);
    if (n <= 0) {
      break;
    }
    got += static_cast<std::size_t>(n);
  }
  if (got != length) {
    throw Error(ErrorCode::kSystem, "cannot copy the unread bytes of a pipe (" +
                                        std::to_string(got) + " of " + std::to_string(length) +
                                        ")");
  }
  return bytes;
}

// Whether a file lies where its path leads: some kinds of kernel objects have a path and no place.
bool lies_in_directory(const std::string& opened, const std::string& path, dev_t device) {
  const std::string directory = path.substr(0, std::max<std::size_t>(path.rfind('/'), 1));
  struct stat status {};
  struct statfs of_file {};
  struct statfs of_directory {};
  return ::stat(directory.c_str(), &status) == 0 &&
         (status.st_dev == device || (::statfs(opened.c_str(), &of_file) == 0 &&
                                      ::statfs(directory.c_str(), &of_directory) == 0 &&
                                      of_file.f_type == of_directory.f_type));
}

schema::FileLock::Kind lock_kind(FdLock::Kind kind) {
  switch (kind) {
  case FdLock::Kind::kOpenFileDescription:
    return schema::FileLock::Kind::OPEN_FILE_DESCRIPTION;
  case FdLock::Kind::kFlock:
    return schema::FileLock::Kind::FLOCK;
  case FdLock::Kind::kLease:
    return schema::FileLock::Kind::LEASE;
  default:
    return schema::FileLock::Kind::POSIX;
  }
}

} // namespace

ScopedFd OpenFileTable::duplicate(pid_t tid, int fd) {
  constexpr unsigned kThread = O_EXCL; // PIDFD_THREAD, Linux 6.9
  if (duplicated_from_ != tid) {
    process_.reset(static_cast<int>(::syscall(SYS_pidfd_open, tid, kThread)));
    if (!process_) {
      process_.reset(static_cast<int>(::syscall(SYS_pidfd_open, tid, 0)));
    }
    duplicated_from_ = tid;
  }
  if (!process_) {
    return {};
  }
  return ScopedFd(static_cast<int>(::syscall(SYS_pidfd_getfd, process_.get(), fd, 0)));
}

std::uint32_t OpenFileTable::add_table(pid_t tid) {
  std::vector<Descriptor> table;
  for (int fd : read_open_descriptors(tid)) {
    std::optional<FdInfo> info = FdInfo::try_read(tid, fd);
    if (!info) {
      throw Error(ErrorCode::kProcessGone, "thread " + std::to_string(tid) + " ended meanwhile");
    }
    const bool close_on_exec = (info->flags & O_CLOEXEC) != 0;
    info->flags &= ~std::uint32_t{O_CLOEXEC};
    table.push_back({fd, close_on_exec, find_or_add(examine(tid, fd, std::move(*info)))});
  }
  tables_.push_back(std::move(table));
  return static_cast<std::uint32_t>(tables_.size() - 1);
}

OpenFileTable::OpenFile OpenFileTable::examine(pid_t tid, int fd, FdInfo info) {
  OpenFile file;
  file.tid = tid;
  file.fd = fd;
  file.info = std::move(info);
  const std::string path = fd_path(tid, fd);
  std::optional<std::string> target;
  try {
    target = try_read_link(path);
  } catch (const Error& error) {
    if (error.errno_value() != ENAMETOOLONG) {
      throw;
    }
    refusals_.refuse("descriptor " + std::to_string(fd) +
                     ": a file whose path is too long to be opened by");
    target = "";
  }
  if (!target || ::stat(path.c_str(), &file.status) != 0) {
    throw Error(ErrorCode::kProcessGone, "thread " + std::to_string(tid) + " ended meanwhile");
  }
  file.target = std::move(*target);
  return file;
}

std::uint32_t OpenFileTable::find_or_add(OpenFile file) {
  std::vector<std::uint32_t>& alike =
      alike_[Likeness(file.status.st_dev, file.status.st_ino, file.info.flags, file.info.position,
                      file.info.mount)];
  // The kernel has an order of open files, so that not each has to be compared with each.
  std::size_t first = 0;
  std::size_t end = alike.size();
  while (first < end) {
    const std::size_t middle = first + (end - first) / 2;
    const OpenFile& known = files_[alike[middle]];
    const long order = ::syscall(SYS_kcmp, known.tid, file.tid, KCMP_FILE, known.fd, file.fd);
    // Where the kernel cannot say, equal in every respect is the same.
    if (order <= 0) {
      return alike[middle];
    }
    if (order == 1) { // the known one is less
      first = middle + 1;
    } else {
      end = middle;
    }
  }
  classify(file);
  files_.push_back(std::move(file));
  const auto index = static_cast<std::uint32_t>(files_.size() - 1);
  alike.insert(alike.begin() + static_cast<std::ptrdiff_t>(first), index);
  return index;
}

void OpenFileTable::classify(OpenFile& file) {
  const mode_t type = file.status.st_mode & S_IFMT;
  const std::string_view target = file.target;
  const bool memfd = target.starts_with("/memfd:") && target.ends_with(kDeleted);
  ScopedFd same; // not of devices: holding one open may mean something to others
  if ((file.info.flags & kPathOnly) == 0 && type != S_IFCHR && type != S_IFBLK) {
    same = duplicate(file.tid, file.fd);
    if (same) {
      examine_owner(file, same.get());
    }
  }
  if ((file.info.flags & kPathOnly) != 0) {
    file.kind = Kind::kPath;
  } else if (memfd && type == S_IFREG) {
    file.kind = Kind::kMemfd;
    std::string_view name = target.substr(7);
    name.remove_suffix(kDeleted.size());
    file.object = objects_.add_memfd(file.tid, file.fd, std::string(name));
    return;
  } else if (type == S_IFDIR) {
    file.kind = Kind::kDirectory;
  } else if (type == S_IFCHR || type == S_IFBLK) {
    file.kind =
        type == S_IFCHR && is_terminal(file.status.st_rdev) ? Kind::kTerminal : Kind::kDevice;
    if (file.kind == Kind::kDevice) {
      file.deleted = find_named_file(file.tid, file.target, file.status, true).empty();
    } else {
      examine_terminal(file);
    }
    return;
  } else if (type == S_IFIFO) {
    file.kind = target.starts_with("pipe:[") ? Kind::kPipe : Kind::kFifo;
  } else if (type == S_IFSOCK) {
    file.kind = Kind::kSocket;
  } else if (target == "anon_inode:[eventfd]" && file.info.eventfd_count) {
    file.kind = Kind::kEventfd;
    return;
  } else if (target == "anon_inode:[eventpoll]") {
    file.kind = Kind::kEpoll;
    std::stable_sort(file.info.watches.begin(), file.info.watches.end(),
                     [](const FdWatch& a, const FdWatch& b) { return a.fd < b.fd; });
    return;
  } else {
    // Not every file of an anonymous kind looks like one: a path is what makes a regular file.
    file.kind = type == S_IFREG && target.starts_with('/') ? Kind::kRegular : anonymous_kind(file);
  }
  if (file.kind == Kind::kInotify) {
    examine_inotify(file, same.get());
    return;
  }
  if (file.kind == Kind::kPidfd) {
    examine_pidfd(file);
    return;
  }
  if (file.kind == Kind::kSocket) {
    examine_socket(file, same.get());
    return;
  }
  if (file.kind == Kind::kPipe) {
    examine_pipe(file, same.get());
    return;
  }
  if (target.starts_with('/')) {
    const bool found =
        file.status.st_nlink != 0 && !find_named_file(file.tid, file.target, file.status, true,
                                                      file.kind == Kind::kPath) // O_NOFOLLOW
                                          .empty();
    if (!found) {
      file.deleted = true;
      if (file.target.ends_with(kDeleted)) {
        file.target.resize(file.target.size() - kDeleted.size());
      }
      if (file.kind == Kind::kRegular) {
        examine_unlinked(file);
      }
    }
  } else if (file.kind == Kind::kPath || file.kind == Kind::kDirectory) {
    file.deleted = true; // "(unreachable)/…" and the like
  }
}

// `end` is our descriptor of the same open file, or -1.
void OpenFileTable::examine_pipe(OpenFile& file, int end) {
  if (end < 0) {
    file.external = true; // nothing can be learned about it
    return;
  }
  if (int capacity = ::fcntl(end, F_GETPIPE_SZ); capacity > 0) {
    file.capacity = static_cast<std::uint64_t>(capacity);
  }
  pollfd state{end, 0, 0};
  if (::poll(&state, 1, 0) > 0) {
    // POLLHUP: no writer is left; POLLERR: no reader.
    file.other_end_closed = (state.revents & (POLLHUP | POLLERR)) != 0;
  }
  int unread = 0;
  if (can_read(file.info.flags) && ::ioctl(end, FIONREAD, &unread) == 0 && unread > 0) {
    file.contents = copy_pipe(end, static_cast<std::size_t>(unread), file.capacity);
  }
}

void OpenFileTable::examine_socket(OpenFile& file, int socket) {
  int family = 0;
  int type = 0;
  socklen_t length = sizeof family;
  if (socket >= 0 && ::getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &family, &length) == 0) {
    length = sizeof type;
    ::getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &length);
    int listening = 0;
    length = sizeof listening;
    ::getsockopt(socket, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length);
    file.description = family_name(family) + " " + type_name(type) + " " +
                       (listening != 0 ? std::string(kListening) + " " : std::string());
  }
  file.description += file.target;
  std::string why;
  if (socket >= 0) {
    file.socket = examine_local_socket(socket, file.status.st_ino, why);
  }
  if (!why.empty()) {
    file.description += ", " + why;
  }
}

// Where both ends of a pair are here, or one is gone, both can be made again.
void OpenFileTable::pair_sockets() {
  std::map<ino_t, const OpenFile*> ends;
  for (const OpenFile& file : files_) {
    if (file.socket) {
      ends[file.socket->inode] = &file;
    }
  }
  std::vector<OpenFile*> alone;
  for (OpenFile& file : files_) {
    if (file.socket && file.socket->peer != 0) {
      const auto peer = ends.find(file.socket->peer);
      if (peer == ends.end() || peer->second->socket->peer != file.socket->inode) {
        alone.push_back(&file);
      }
    }
  }
  for (OpenFile* file : alone) {
    file->socket.reset();
  }
}

void OpenFileTable::examine_terminal(OpenFile& file) {
  const ScopedFd same = duplicate(file.tid, file.fd);
  struct termios2 attributes {};
  if (!same || ::ioctl(same.get(), kGetAttributes, &attributes) != 0) {
    return;
  }
  Terminal& terminal = file.terminal.emplace();
  terminal.attributes.assign(reinterpret_cast<const char*>(&attributes), sizeof attributes);
  winsize size{};
  if (::ioctl(same.get(), TIOCGWINSZ, &size) == 0) {
    terminal.rows = size.ws_row;
    terminal.columns = size.ws_col;
    terminal.x_pixels = size.ws_xpixel;
    terminal.y_pixels = size.ws_ypixel;
  }
}

OpenFileTable::Kind OpenFileTable::anonymous_kind(const OpenFile& file) {
  if (file.target == "anon_inode:[timerfd]" && file.info.timer) {
    return Kind::kTimerfd;
  }
  if (file.target == "anon_inode:[signalfd]" && file.info.signal_mask) {
    return Kind::kSignalfd;
  }
  if (file.target == "anon_inode:inotify") {
    return Kind::kInotify;
  }
  if (file.target == "anon_inode:[pidfd]" && file.info.pid) {
    return Kind::kPidfd;
  }
  return Kind::kOther;
}

void OpenFileTable::examine_inotify(OpenFile& file, int inotify) {
  std::vector<FdInotifyWatch>& watches = file.info.inotify;
  std::sort(watches.begin(), watches.end(), [](const FdInotifyWatch& a, const FdInotifyWatch& b) {
    return a.descriptor < b.descriptor;
  });
  std::vector<std::string> likely{try_read_link(proc_path(file.tid, "cwd")).value_or("")};
  for (const OpenFile& other : files_) {
    if (other.target.starts_with('/')) {
      likely.push_back(other.target);
    }
  }
  for (const FdInotifyWatch& watch : watches) {
    file.watched.push_back(find_watched_path(file.tid, watch, likely));
  }
  int unread = 0;
  if (inotify >= 0 && ::ioctl(inotify, FIONREAD, &unread) == 0 && unread > 0) {
    file.unread_events = static_cast<std::uint64_t>(unread);
  }
}

void OpenFileTable::examine_pidfd(OpenFile& file) {
  const ProcStatus holder = ProcStatus::read(file.tid, file.tid);
  const pid_t pid = *file.info.pid;
  if (pid <= 0) {
    return; // ended and waited for (-1), or out of sight (0)
  }
  const std::optional<ProcStatus> status = ProcStatus::try_read(pid, pid);
  file.in_checkpoint = status && status->process == holder.process;
  if (status) {
    file.info.pid = status->thread_in_namespace;
  }
}

// What is left of a file when its last name is gone is its contents: they are stored, where nobody
// can have it by another name.
void OpenFileTable::examine_unlinked(OpenFile& file) {
  if (file.status.st_nlink != 0 ||
      !lies_in_directory(fd_path(file.tid, file.fd), file.target, file.status.st_dev)) {
    return;
  }
  const auto bytes = static_cast<std::uint64_t>(file.status.st_blocks) * 512;
  if (bytes > left_for_unlinked_) {
    file.description = "more than may be stored of such files (--max-unlinked)";
    return;
  }
  if (std::optional<std::uint32_t> object = objects_.add_unlinked(file.tid, file.fd, file.target)) {
    left_for_unlinked_ -= bytes;
    file.object = *object;
  }
}

std::vector<std::string> OpenFileTable::who_uses() const {
  std::vector<std::vector<std::int32_t>> numbers(files_.size());
  for (const std::vector<Descriptor>& table : tables_) {
    for (const Descriptor& descriptor : table) {
      numbers[descriptor.file].push_back(descriptor.fd);
    }
  }
  std::vector<std::string> users;
  for (const std::vector<std::int32_t>& of_file : numbers) {
    users.push_back(name_descriptors(of_file));
  }
  return users;
}

void OpenFileTable::refuse(const OpenFile& file, const std::string& who) {
  // Judged as what the checkpoint will say of it: restore judges by the same.
  capnp::MallocMessageBuilder message;
  const auto stored = message.initRoot<schema::OpenFile>();
  build_file(file, stored);
  const ProcStatus holder = ProcStatus::read(file.tid, file.tid);
  if (file.kind == Kind::kRegular && !file.description.empty()) {
    refusals_.refuse_unless("deleted-file",
                            who + ": the file " + file.target +
                                ", which its path does not name any more, has " + file.description,
                            "an unnamed file of the same size, full of zeros, takes its place");
    return;
  }
  refusals_.add(judge_open_file(stored.asReader(), who, holder.process_in_namespace));
  switch (file.kind) {
  case Kind::kPipe:
    if (!file.external && (file.info.flags & O_DIRECT) != 0 && !file.contents.empty()) {
      refusals_.warn(who +
                     ": the pipe is in packet mode; the bounds of the packets in it are lost");
    }
    break;
  case Kind::kFifo:
    if (!file.deleted) {
      refusals_.refuse_unless("pipe", who + ": the fifo " + file.target,
                              "a restore opens it again by its path; what it holds is lost");
    }
    break;
  case Kind::kInotify:
    if (file.unread_events != 0) {
      refusals_.refuse_unless("other-fd",
                              who + ": an inotify with events that were not read yet (" +
                                  std::to_string(file.unread_events) + " bytes)",
                              "they are lost");
    }
    break;
  case Kind::kDevice:
    if (file.deleted) {
      refusals_.refuse(who + ": the device " + file.target +
                       ", which its path does not name any more");
    }
    break;
  default:
    break;
  }
}

// fcntl(2) F_GETOWN_EX and F_GETOWNER_UIDS, which unlike F_GETOWN tell a thread from a process.
void OpenFileTable::examine_owner(OpenFile& file, int same) {
  f_owner_ex owner{};
  if (::fcntl(same, F_GETOWN_EX, &owner) == 0 && owner.pid != 0) {
    file.owner = owner.type == F_OWNER_PGRP ? -owner.pid : owner.pid;
    file.owner_is_thread = owner.type == F_OWNER_TID;
    constexpr int kGetOwnerUids = 17; // asm-generic/fcntl.h F_GETOWNER_UIDS
    std::array<std::uint32_t, 2> uids{};
    if (::fcntl(same, kGetOwnerUids, uids.data()) == 0) {
      file.owner_uid = uids[0];
      file.owner_effective_uid = uids[1];
    }
  }
  file.owner_signal = ::fcntl(same, F_GETSIG);
}

// An epoll instance can go on watching a file whose descriptor the program has closed; that cannot
// be said again by number.
void OpenFileTable::check_watches(std::uint32_t table) {
  std::map<int, std::uint32_t> files;
  for (const Descriptor& descriptor : tables_[table]) {
    files[descriptor.fd] = descriptor.file;
  }
  for (const Descriptor& descriptor : tables_[table]) {
    OpenFile& epoll = files_[descriptor.file];
    std::erase_if(epoll.info.watches, [&](const FdWatch& watch) {
      auto found = files.find(watch.fd);
      bool same = found != files.end() &&
                  (watch.inode == 0 || files_[found->second].status.st_ino == watch.inode);
      if (!same) {
        refusals_.refuse_unless("other-fd",
                                "descriptor " + std::to_string(descriptor.fd) +
                                    ": an epoll instance that watches a file which descriptor " +
                                    std::to_string(watch.fd) + " does not refer to any more",
                                "it is not watched after a restore");
      }
      return !same;
    });
  }
}

void OpenFileTable::finish() {
  // A pipe leads out unless both ends are here, or nobody has the other end any more.
  std::map<ino_t, int> ends; // 1: read end is here, 2: write end
  for (const OpenFile& file : files_) {
    if (file.kind == Kind::kPipe) {
      ends[file.status.st_ino] |=
          (can_read(file.info.flags) ? 1 : 0) | (can_write(file.info.flags) ? 2 : 0);
    }
  }
  pair_sockets();
  const std::vector<std::string> users = who_uses();
  for (std::uint32_t i = 0; i < files_.size(); ++i) {
    OpenFile& file = files_[i];
    if (file.kind == Kind::kPipe) {
      file.external |= ends[file.status.st_ino] != 3 && !file.other_end_closed;
    }
    refuse(file, users[i]);
  }
  for (std::uint32_t table = 0; table < tables_.size(); ++table) {
    check_watches(table);
  }
  const auto ended = std::count_if(files_.begin(), files_.end(), [](const OpenFile& file) {
    return file.kind == Kind::kPidfd && file.info.pid == -1;
  });
  if (ended > 1) {
    refusals_.refuse_unless("other-fd", "several pidfds of processes that have ended",
                            "each is of another process that has ended");
  }
}

void OpenFileTable::visit_objects(const std::function<void(std::uint32_t&)>& visit) {
  for (OpenFile& file : files_) {
    if (file.object != schema::NO_INDEX) {
      visit(file.object);
    }
  }
}

void OpenFileTable::build_file(const OpenFile& file, schema::OpenFile::Builder out) const {
  out.setFlags(file.info.flags);
  out.setOwner(file.owner);
  out.setOwnerSignal(file.owner_signal);
  out.setOwnerIsThread(file.owner_is_thread);
  out.setOwnerUid(file.owner_uid);
  out.setOwnerEffectiveUid(file.owner_effective_uid);
  const bool seekable = file.kind == Kind::kRegular || file.kind == Kind::kDirectory ||
                        file.kind == Kind::kMemfd || file.kind == Kind::kDevice;
  if (seekable && static_cast<std::int64_t>(file.info.position) >= 0) {
    out.setOffset(file.info.position);
  }
  std::vector<FdLock> locks = file.info.locks;
  std::erase_if(locks, [](const FdLock& lock) { return lock.kind == FdLock::Kind::kOther; });
  if (!locks.empty()) {
    auto list = out.initLocks(static_cast<unsigned>(locks.size()));
    for (unsigned i = 0; i < list.size(); ++i) {
      list[i].setKind(lock_kind(locks[i].kind));
      list[i].setExclusive(locks[i].exclusive);
      list[i].setBreaking(!locks[i].breaking ? schema::FileLock::LeaseBreak::NONE
                          : locks[i].is_read ? schema::FileLock::LeaseBreak::TO_READ
                                             : schema::FileLock::LeaseBreak::TO_NONE);
      list[i].setStart(locks[i].start);
      list[i].setEnd(locks[i].end);
    }
  }
  auto identify = [&](schema::FileIdentity::Builder identity) {
    identity.setPath(as_data(file.target));
    identity.setPathBase(schema::PathBase::ABSOLUTE);
    identity.setSize(static_cast<std::uint64_t>(file.status.st_size));
    identity.setModifiedAt(nanoseconds(file.status.st_mtim));
    identity.setMode(file.status.st_mode);
    identity.setDeleted(file.deleted);
    if (file.deleted) {
      identity.setUid(file.status.st_uid);
      identity.setGid(file.status.st_gid);
    }
  };
  switch (file.kind) {
  case Kind::kRegular:
    identify(out.initRegular());
    out.setContentsObject(file.object);
    break;
  case Kind::kDirectory:
    identify(out.initDirectory());
    break;
  case Kind::kFifo:
    identify(out.initFifo());
    break;
  case Kind::kPath:
    identify(out.initPath());
    break;
  case Kind::kDevice: {
    auto device = out.initDevice();
    device.setPath(as_data(file.target));
    device.setNumber(file.status.st_rdev);
    break;
  }
  case Kind::kTerminal: {
    auto terminal = out.initTerminal();
    terminal.setPath(as_data(file.target));
    if (file.terminal) {
      auto settings = terminal.initSettings();
      settings.setAttributes(as_data(file.terminal->attributes));
      settings.setRows(file.terminal->rows);
      settings.setColumns(file.terminal->columns);
      settings.setXPixels(file.terminal->x_pixels);
      settings.setYPixels(file.terminal->y_pixels);
    }
    break;
  }
  case Kind::kPipe: {
    auto pipe = out.initPipe();
    pipe.setId(file.status.st_ino);
    pipe.setCapacity(file.capacity);
    pipe.setExternal(file.external);
    if (!file.external) {
      pipe.setContents(as_data(file.contents));
    }
    break;
  }
  case Kind::kSocket:
    if (file.socket) {
      file.socket->build(out.initSocketEnd());
    } else {
      out.initSocket().setDescription(file.description);
    }
    break;
  case Kind::kTimerfd: {
    auto timer = out.initTimerfd();
    timer.setClock(file.info.timer->clock);
    timer.setSettings(file.info.timer->settings);
    timer.setInterval(file.info.timer->interval);
    timer.setRemaining(file.info.timer->remaining);
    timer.setTicks(file.info.timer->ticks);
    break;
  }
  case Kind::kSignalfd:
    out.initSignalfd().setMask(*file.info.signal_mask);
    break;
  case Kind::kInotify: {
    const std::vector<FdInotifyWatch>& watches = file.info.inotify;
    auto list = out.initInotify().initWatches(static_cast<unsigned>(watches.size()));
    for (unsigned i = 0; i < list.size(); ++i) {
      list[i].setDescriptor(watches[i].descriptor);
      list[i].setMask(watches[i].mask);
      list[i].setPath(as_data(file.watched[i]));
      list[i].setDevice(watches[i].device);
      list[i].setInode(watches[i].inode);
      list[i].setHandleType(watches[i].handle_type);
      list[i].setHandle(as_data(watches[i].handle));
    }
    break;
  }
  case Kind::kPidfd: {
    auto pidfd = out.initPidfd();
    pidfd.setPid(*file.info.pid);
    pidfd.setInCheckpoint(file.in_checkpoint);
    break;
  }
  case Kind::kEventfd: {
    auto eventfd = out.initEventfd();
    eventfd.setCount(file.info.eventfd_count.value_or(0));
    eventfd.setSemaphore(file.info.eventfd_semaphore);
    break;
  }
  case Kind::kEpoll: {
    const std::vector<FdWatch>& watches = file.info.watches;
    auto list = out.initEpoll().initWatches(static_cast<unsigned>(watches.size()));
    for (unsigned i = 0; i < list.size(); ++i) {
      list[i].setFd(watches[i].fd);
      list[i].setEvents(watches[i].events);
      list[i].setData(watches[i].data);
    }
    break;
  }
  case Kind::kMemfd:
    out.initMemfd().setObject(file.object);
    break;
  case Kind::kOther:
    out.initOther().setDescription(file.target);
    break;
  }
}

void OpenFileTable::build(schema::State::Builder state) const {
  auto files = state.initOpenFiles(static_cast<unsigned>(files_.size()));
  for (unsigned i = 0; i < files.size(); ++i) {
    build_file(files_[i], files[i]);
  }
  auto tables = state.initFileTables(static_cast<unsigned>(tables_.size()));
  for (unsigned i = 0; i < tables.size(); ++i) {
    auto list = tables[i].initDescriptors(static_cast<unsigned>(tables_[i].size()));
    for (unsigned d = 0; d < list.size(); ++d) {
      list[d].setFd(tables_[i][d].fd);
      list[d].setCloseOnExec(tables_[i][d].close_on_exec);
      list[d].setOpenFile(tables_[i][d].file);
    }
  }
}

} // namespace rrpcp::process::capture
