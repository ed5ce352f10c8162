#include "process/restore/kernel_files.h"

#include "process/carried.h"
#include "process/namespaces.h"
#include "rrpcp/error.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <exception>
#include <fcntl.h>
#include <linux/sched.h>
#include <new>
#include <sched.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <thread>
#include <time.h>
#include <unistd.h>

namespace rrpcp::process::restore {

namespace {

using Policy = OpFailure::Policy;

constexpr std::uint64_t kSecond = 1'000'000'000;
// linux/timerfd.h and linux/inotify.h: for those who put back what was.
constexpr unsigned long kSetTicks = _IOW('T', 0, std::uint64_t);    // TFD_IOC_SET_TICKS
constexpr unsigned long kSetNextWatch = _IOW('I', 0, std::int32_t); // INOTIFY_IOC_SETNEXTWD
// Bytes of a stream that are sent at once: a socket takes so many whole or not at all.
constexpr std::size_t kPiece = 2048;
// Room in a send buffer for `bytes`, with what the kernel keeps beside them.
constexpr std::uint64_t kRoomFactor = 4;

timespec to_timespec(std::uint64_t nanoseconds) {
  return {static_cast<time_t>(nanoseconds / kSecond), static_cast<long>(nanoseconds % kSecond)};
}

ScopedFd require(int fd, const char* what) {
  ScopedFd made(fd);
  if (!made) {
    throw system_error(errno, std::string("cannot make ") + what);
  }
  return made;
}

ScopedFd make_reset_socket() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    throw system_error(errno, "cannot make a socket");
  }
  ScopedFd kept(ends[0]);
  ScopedFd peer(ends[1]);
  if (::send(kept.get(), "", 1, MSG_NOSIGNAL) != 1) {
    throw system_error(errno, "cannot write to a socket");
  }
  return kept;
}

// A listening socket must have a name. In a network namespace of its own, where there is a right to
// make one, nobody can find it.
ScopedFd make_deaf_listener() {
  ScopedFd socket;
  int error = 0;
  std::thread maker([&] { // namespaces are those of a thread
    ::unshare(CLONE_NEWNET);
    socket = ScopedFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr any{AF_UNIX, {}};
    if (!socket || ::bind(socket.get(), &any, sizeof(sa_family_t)) != 0 ||
        ::listen(socket.get(), 0) != 0) {
      error = errno;
    }
  });
  maker.join();
  if (error != 0) {
    throw system_error(error, "cannot make a socket");
  }
  return socket;
}

// The absolute time of an expiration, where the timer was set to one and its clock goes on; else
// nothing, and it is armed with the time that remained.
std::optional<std::uint64_t> absolute_time(schema::OpenFile::Timerfd::Reader timer,
                                           schema::State::Reader state) {
  if ((timer.getSettings() & TFD_TIMER_ABSTIME) == 0 || timer.getRemaining() == 0) {
    return std::nullopt;
  }
  timespec now{};
  const bool real = timer.getClock() == CLOCK_REALTIME || timer.getClock() == CLOCK_REALTIME_ALARM;
  if (!real) { // in another time namespace the child's clock is another one than ours
    const std::vector<std::byte> boot = read_boot_id();
    const capnp::Data::Reader then = state.getClocks().getBootId();
    if (boot.size() != then.size() || boot.empty() ||
        std::memcmp(boot.data(), then.begin(), boot.size()) != 0) {
      return std::nullopt;
    }
    const ClockOffsets own = read_clock_offsets(0);
    const schema::NamespaceSet::Reader set = state.getNamespaceSets().size() != 0
                                                 ? state.getNamespaceSets()[0]
                                                 : schema::NamespaceSet::Reader();
    if (set.getMonotonicOffset() != own.monotonic || set.getBoottimeOffset() != own.boottime) {
      return std::nullopt;
    }
  }
  ::clock_gettime(timer.getClock(), &now);
  return static_cast<std::uint64_t>(now.tv_sec) * kSecond +
         static_cast<std::uint64_t>(now.tv_nsec) + timer.getRemaining();
}

} // namespace

ScopedFd make_timerfd(schema::OpenFile::Timerfd::Reader timer) {
  return require(::timerfd_create(timer.getClock(), TFD_CLOEXEC), "a timerfd");
}

ScopedFd make_signalfd(schema::OpenFile::Signalfd::Reader signals) {
  const std::uint64_t mask = signals.getMask();
  return require(static_cast<int>(::syscall(SYS_signalfd4, -1, &mask, sizeof mask, SFD_CLOEXEC)),
                 "a signalfd");
}

ScopedFd make_inotify() {
  return require(::inotify_init1(IN_CLOEXEC), "an inotify");
}

ScopedFd make_ended_pidfd() {
  const pid_t child = ::fork();
  if (child == 0) {
    ::_exit(0);
  }
  if (child < 0) {
    throw system_error(errno, "cannot make a process");
  }
  ScopedFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  const int error = errno;
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  errno = error;
  return require(pidfd.release(), "a pidfd");
}

ScopedFd make_replacement_socket(schema::OpenFile::Reader file) {
  if (is_listening(file)) {
    return make_deaf_listener();
  }
  if (is_connectionless(file)) {
    return require(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "a socket");
  }
  return make_reset_socket();
}

bool has_other_maker(schema::SocketEnd::Reader socket) {
  return socket.getPeerPid() != 0 &&
         (socket.getPeerUid() != ::geteuid() || socket.getPeerGid() != ::getegid());
}

std::pair<ScopedFd, ScopedFd> make_pair_by_another(schema::SocketEnd::Reader socket) {
  struct Result {
    int ends[2] = {-1, -1};
    int error = 0;
  };
  void* memory =
      ::mmap(nullptr, sizeof(Result), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw system_error(errno, "cannot map memory");
  }
  auto* result = new (memory) Result;
  pid_t id = socket.getPeerPid();
  clone_args arguments{};
  arguments.flags = CLONE_FILES; // the ends are ours at once
  arguments.exit_signal = SIGCHLD;
  arguments.set_tid = reinterpret_cast<std::uint64_t>(&id);
  arguments.set_tid_size = 1;
  const auto child = static_cast<pid_t>(::syscall(SYS_clone3, &arguments, sizeof arguments));
  if (child == 0) {
    constexpr int kAsItIs = -1;
    if (::syscall(SYS_setresgid, kAsItIs, socket.getPeerGid(), kAsItIs) != 0 ||
        ::syscall(SYS_setresuid, kAsItIs, socket.getPeerUid(), kAsItIs) != 0 ||
        ::socketpair(AF_UNIX, static_cast<int>(socket.getType()) | SOCK_CLOEXEC,
                     static_cast<int>(socket.getProtocol()), result->ends) != 0) {
      result->error = errno;
    }
    ::_exit(0);
  }
  int error = child < 0 ? errno : 0;
  while (child > 0 && ::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  std::pair<ScopedFd, ScopedFd> ends{ScopedFd(result->ends[0]), ScopedFd(result->ends[1])};
  error = error != 0 ? error : result->error;
  ::munmap(memory, sizeof(Result));
  if (error != 0) {
    throw system_error(error, "cannot make a pair of sockets as process " + std::to_string(id) +
                                  ", which had made it (SO_PEERCRED)");
  }
  return ends;
}

void add_timerfd_ops(OpList& ops, int number, schema::OpenFile::Timerfd::Reader timer,
                     schema::State::Reader state, const std::string& who) {
  const std::optional<std::uint64_t> absolute = absolute_time(timer, state);
  itimerspec value{};
  value.it_interval = to_timespec(timer.getInterval());
  value.it_value = to_timespec(absolute.value_or(timer.getRemaining()));
  if (timer.getRemaining() == 0 && timer.getInterval() != 0) {
    // A periodic timer that has expired stands still until that is read.
    value.it_value = to_timespec(1);
  }
  if (timer.getRemaining() != 0 || timer.getInterval() != 0) {
    ops.system_call({"arming the timer of", who}, SYS_timerfd_settime, number,
                    absolute ? timer.getSettings() & (TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET)
                             : 0,
                    ops.arena().place(value), nullptr);
  }
  if (timer.getTicks() != 0) {
    ops.system_call({"setting the expirations to be read of", who, Policy::kWarn}, SYS_ioctl,
                    number, kSetTicks, ops.arena().place(timer.getTicks()));
  }
}

void add_inotify_ops(OpList& ops, int number, schema::OpenFile::Inotify::Reader inotify,
                     const std::string& who) {
  for (schema::InotifyWatch::Reader watch : inotify.getWatches()) {
    const capnp::Data::Reader path = watch.getPath();
    if (path.size() == 0) {
      continue; // allowed
    }
    ops.system_call({"numbering a watch of", who, Policy::kWarn}, SYS_ioctl, number, kSetNextWatch,
                    watch.getDescriptor());
    const std::string_view text(reinterpret_cast<const char*>(path.begin()), path.size());
    ops.system_call({"watching a file by the inotify of", who}, SYS_inotify_add_watch, number,
                    ops.arena().place_string(text), watch.getMask());
  }
}

namespace {

// What has been sent to an end and was not read.
std::uint64_t queued_bytes(schema::SocketEnd::Reader socket) {
  std::uint64_t bytes = 0;
  for (schema::SocketMessage::Reader message : socket.getReceived()) {
    bytes += message.getData().size() + 1024;
  }
  return bytes;
}

// Sends what `to` has to have received by its other end, which is descriptor `from`.
void add_send_ops(OpList& ops, int from, schema::SocketEnd::Reader to, const std::string& who) {
  const std::uint64_t queued = queued_bytes(to);
  if (queued == 0) {
    return;
  }
  const auto room = static_cast<int>(std::min<std::uint64_t>(queued * kRoomFactor, INT32_MAX / 2));
  const int* size = ops.arena().place(room);
  for (const int option : {SO_SNDBUF, SO_SNDBUFFORCE}) {
    ops.system_call({"enlarging a buffer of", who, Policy::kIgnore}, SYS_setsockopt, from,
                    SOL_SOCKET, option, size, sizeof room);
  }
  for (schema::SocketMessage::Reader message : to.getReceived()) {
    std::span<const std::byte> data =
        std::as_bytes(std::span(message.getData().begin(), message.getData().size()));
    const std::size_t most =
        to.getType() == SOCK_STREAM ? kPiece : std::max<std::size_t>(data.size(), 1);
    while (!data.empty()) {
      const std::span<const std::byte> piece = data.first(std::min(most, data.size()));
      ops.system_call({"filling the socket of", who}, SYS_sendto, from,
                      ops.arena().place_array(piece), piece.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                      nullptr, 0);
      data = data.subspan(piece.size());
    }
  }
}

// Buffers are told twice as large as they were asked for (socket(7)).
int default_send_buffer(schema::SocketEnd::Reader socket) {
  const ScopedFd fresh(::socket(AF_UNIX, static_cast<int>(socket.getType()) | SOCK_CLOEXEC, 0));
  int size = 0;
  socklen_t length = sizeof size;
  ::getsockopt(fresh.get(), SOL_SOCKET, SO_SNDBUF, &size, &length);
  return size;
}

void add_option_ops(OpList& ops, int fd, schema::SocketEnd::Reader socket, bool was_enlarged,
                    const std::string& who) {
  const OpFailure failure{"setting an option of the socket of", who, Policy::kWarn};
  auto set_buffer = [&](int option, int forced, int size) {
    const int* half = ops.arena().place(size / 2);
    ops.system_call({failure.doing, who, Policy::kIgnore}, SYS_setsockopt, fd, SOL_SOCKET, forced,
                    half, sizeof(int));
    ops.system_call(failure, SYS_setsockopt, fd, SOL_SOCKET, option, half, sizeof(int));
    ops.system_call({failure.doing, who, Policy::kIgnore}, SYS_setsockopt, fd, SOL_SOCKET, forced,
                    half, sizeof(int));
  };
  if (was_enlarged) {
    set_buffer(SO_SNDBUF, SO_SNDBUFFORCE, default_send_buffer(socket));
  }
  for (schema::SocketOption::Reader option : socket.getOptions()) {
    const capnp::Data::Reader value = option.getValue();
    const bool is_buffer = option.getLevel() == SOL_SOCKET && value.size() == sizeof(int) &&
                           (option.getName() == SO_SNDBUF || option.getName() == SO_RCVBUF);
    if (is_buffer) {
      int size = 0;
      std::memcpy(&size, value.begin(), sizeof size);
      const bool sends = option.getName() == SO_SNDBUF;
      set_buffer(option.getName(), sends ? SO_SNDBUFFORCE : SO_RCVBUFFORCE, size);
      continue;
    }
    ops.system_call(failure, SYS_setsockopt, fd, option.getLevel(), option.getName(),
                    ops.arena().place_array(std::as_bytes(std::span(value.begin(), value.size()))),
                    value.size());
  }
  if (socket.getReadShut() || socket.getWriteShut()) {
    ops.system_call({"shutting down the socket of", who}, SYS_shutdown, fd,
                    socket.getReadShut() && socket.getWriteShut() ? SHUT_RDWR
                    : socket.getReadShut()                        ? SHUT_RD
                                                                  : SHUT_WR);
  }
}

// Makes descriptors 0 and 1.
void add_making_ops(OpList& ops, schema::SocketEnd::Reader socket, const std::string& who) {
  const OpFailure as_maker{"making the socket as who made it of", who};
  constexpr int kAsItIs = -1;
  const bool others = has_other_maker(socket);
  if (others) { // SO_PEERCRED tells the effective ids of whoever makes the pair
    ops.system_call(as_maker, SYS_setresgid, kAsItIs, socket.getPeerGid(), kAsItIs);
    ops.system_call(as_maker, SYS_setresuid, kAsItIs, socket.getPeerUid(), kAsItIs);
  }
  ops.system_call({"making the socket of", who}, SYS_socketpair, AF_UNIX,
                  static_cast<int>(socket.getType()) | SOCK_CLOEXEC,
                  static_cast<int>(socket.getProtocol()), ops.arena().allocate<int>(2));
  if (others) {
    ops.system_call(as_maker, SYS_setresuid, kAsItIs, ::geteuid(), kAsItIs);
    ops.system_call(as_maker, SYS_setresgid, kAsItIs, ::getegid(), kAsItIs);
    ops.system_call(as_maker, SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0); // lost with the change
  }
}

} // namespace

std::uint64_t socket_arena_size(schema::SocketEnd::Reader socket) {
  constexpr std::uint64_t kPerOperation = 256;
  const std::uint64_t bytes = queued_bytes(socket);
  return bytes + (bytes / kPiece + socket.getReceived().size() + 32) * kPerOperation +
         socket.getOptions().size() * 4 * kPerOperation;
}

void add_socket_pair_ops(OpList& ops, const SocketPlace& one,
                         const std::optional<SocketPlace>& other, const std::string& who) {
  const schema::SocketEnd::Reader first = one.file.getSocketEnd();
  if (one.there) {
    ops.system_call({"making the socket of", who}, SYS_dup3, one.number, 0, O_CLOEXEC);
    ops.system_call({"making the socket of", who}, SYS_dup3, other->number, 1, O_CLOEXEC);
  } else {
    add_making_ops(ops, first, who);
  }
  add_send_ops(ops, 1, first, who);
  if (other) {
    add_send_ops(ops, 0, other->file.getSocketEnd(), who);
  } else {
    ops.system_call({"closing the other end of the socket of", who}, SYS_close, 1);
  }
  auto put = [&](int fd, const SocketPlace& place, bool was_enlarged) {
    add_option_ops(ops, fd, place.file.getSocketEnd(), was_enlarged, who);
    if ((place.file.getFlags() & O_NONBLOCK) != 0) {
      ops.system_call({"setting the flags of", who}, SYS_fcntl, fd, F_SETFL, O_NONBLOCK);
    }
    ops.system_call({"making the socket of", who}, SYS_dup3, fd, place.number, O_CLOEXEC);
  };
  put(0, one, other && queued_bytes(other->file.getSocketEnd()) != 0);
  if (other) {
    put(1, *other, queued_bytes(first) != 0);
    ops.system_call({"making the socket of", who}, SYS_close, 1);
  }
  ops.system_call({"making the socket of", who}, SYS_close, 0);
}

} // namespace rrpcp::process::restore
