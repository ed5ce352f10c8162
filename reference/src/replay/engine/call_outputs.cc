#include "replay/engine/call_outputs.h"

#include <algorithm>
#include <cstddef>
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

namespace rrpcp::replay {

namespace {

// Sizes of the kernel's structures on x86-64, in bytes.
constexpr std::uint64_t kInt = 4;
constexpr std::uint64_t kWord = 8;
constexpr std::uint64_t kStat = 144;
constexpr std::uint64_t kStatfs = 120;
constexpr std::uint64_t kStatx = 256;
constexpr std::uint64_t kTime = 16; // timespec, timeval
constexpr std::uint64_t kIntervalTime = 32;
constexpr std::uint64_t kUsage = 144;
constexpr std::uint64_t kSignalInfo = 128;
constexpr std::uint64_t kTimex = 208;
constexpr std::uint64_t kLimit = 16;
constexpr std::uint64_t kTerminal = 36; // struct termios of asm-generic/termbits.h
constexpr std::uint64_t kTerminal2 = 44;
constexpr std::uint64_t kEpollEvent = 12;
constexpr std::uint64_t kPollfd = 8;
constexpr std::uint64_t kAddressMax = 128; // sockaddr_storage
constexpr std::uint64_t kMessageHeader = 56;
constexpr std::uint64_t kMultiMessage = 64;
constexpr std::uint64_t kLock = 32;         // struct flock
constexpr std::uint64_t kMaxBuffers = 1024; // UIO_MAXIOV

// asm-generic/ioctls.h; the C library does not have the structure that the macros need.
constexpr std::uint32_t kGetTerminal2 = 0x802c542a;
constexpr std::uint32_t kSetTerminal2 = 0x402c542b;
constexpr std::uint32_t kSetTerminalWait2 = 0x402c542c;
constexpr std::uint32_t kSetTerminalFlush2 = 0x402c542d;
// asm/prctl.h
constexpr std::uint64_t kArchGetFs = 0x1003;
constexpr std::uint64_t kArchGetGs = 0x1004;
constexpr std::uint64_t kArchGetXcompSupport = 0x1021;
constexpr std::uint64_t kArchGetXcompPermission = 0x1022;
constexpr std::uint64_t kArchGetXcompGuest = 0x1024;
// linux/fcntl.h
constexpr std::uint64_t kGetOwnerIds = 17;
constexpr std::uint64_t kGetReadWriteHint = 1035;
constexpr std::uint64_t kGetFileReadWriteHint = 1037;

// Numbers that are in use on x86-64: up to rseq(2), and from pidfd_send_signal(2) on.
constexpr long kLastOfOldNumbers = 334;
constexpr long kLastOfNewNumbers = 450; // set_mempolicy_home_node(2), Linux 5.17

class Collector {
public:
  Collector(RemoteMemory& memory, std::vector<OutputRange>& out) : memory_(memory), out_(out) {}

  void add(std::uint64_t address, std::uint64_t length) {
    if (address != 0 && length != 0) {
      out_.push_back({address, length});
    }
  }
  template <typename T> T value(std::uint64_t address) {
    T read{};
    if (address != 0) {
      memory_.read_some(address, std::as_writable_bytes(std::span(&read, 1)));
    }
    return read;
  }
  // The first `length` bytes of a list of buffers.
  void buffers(std::uint64_t list, std::uint64_t count, std::uint64_t length) {
    count = std::min(count, kMaxBuffers);
    for (std::uint64_t i = 0; i < count && length > 0; ++i) {
      const iovec buffer = value<iovec>(list + i * sizeof(iovec));
      const std::uint64_t part = std::min<std::uint64_t>(buffer.iov_len, length);
      add(reinterpret_cast<std::uint64_t>(buffer.iov_base), part);
      length -= part;
    }
  }
  // A socket address and its length field.
  void socket_address(std::uint64_t address, std::uint64_t length) {
    if (address != 0 && length != 0) {
      add(address, std::min<std::uint64_t>(value<std::uint32_t>(length), kAddressMax));
    }
    add(length, kInt);
  }
  // What recvmsg(2) fills in.
  void message(std::uint64_t header, std::uint64_t received) {
    const msghdr read = value<msghdr>(header);
    add(header, kMessageHeader);
    add(reinterpret_cast<std::uint64_t>(read.msg_name),
        std::min<std::uint64_t>(read.msg_namelen, kAddressMax));
    add(reinterpret_cast<std::uint64_t>(read.msg_control), read.msg_controllen);
    buffers(reinterpret_cast<std::uint64_t>(read.msg_iov), read.msg_iovlen, received);
  }
  void sent_message(std::uint64_t header, std::uint64_t sent) {
    const msghdr read = value<msghdr>(header);
    buffers(reinterpret_cast<std::uint64_t>(read.msg_iov), read.msg_iovlen, sent);
  }

private:
  RemoteMemory& memory_;
  std::vector<OutputRange>& out_;
};

// Bytes that an ioctl(2) request writes to its argument; -1: not known.
std::int64_t ioctl_output(std::uint64_t request) {
  switch (static_cast<std::uint32_t>(request)) {
  case TCGETS:
    return kTerminal;
  case kGetTerminal2:
    return kTerminal2;
  case TIOCGWINSZ:
    return 8;
  case FIONREAD:
  case TIOCOUTQ:
  case TIOCGPGRP:
  case TIOCGSID:
  case TIOCGPTN:
  case TIOCGETD:
  case TIOCMGET:
  case TIOCGSOFTCAR:
    return kInt;
  case TCSETS:
  case TCSETSW:
  case TCSETSF:
  case kSetTerminal2:
  case kSetTerminalWait2:
  case kSetTerminalFlush2:
  case TCSBRK:
  case TCSBRKP:
  case TCXONC:
  case TCFLSH:
  case TIOCSCTTY:
  case TIOCNOTTY:
  case TIOCSPGRP:
  case TIOCSWINSZ:
  case TIOCSPTLCK:
  case TIOCGPTPEER:
  case TIOCSTI:
  case FIONBIO:
  case FIOCLEX:
  case FIONCLEX:
  case FIOASYNC:
  case 0x40049409: // FICLONE
  case 0x4020940d: // FICLONERANGE
    return 0;
  case 0x80086601: // FS_IOC_GETFLAGS
    return kWord;
  default:
    return -1;
  }
}

// Bytes that prctl(2) writes to its second argument.
std::uint64_t prctl_output(std::uint64_t option) {
  switch (option) {
  case PR_GET_PDEATHSIG:
  case PR_GET_UNALIGN:
  case PR_GET_FPEMU:
  case PR_GET_FPEXC:
  case PR_GET_ENDIAN:
  case PR_GET_TSC:
  case PR_GET_CHILD_SUBREAPER:
    return kInt;
  case PR_GET_NAME:
    return 16;
  case PR_GET_TID_ADDRESS:
    return kWord;
  default:
    return 0;
  }
}

std::uint64_t fcntl_output(std::uint64_t command) {
  switch (command) {
  case F_GETLK:
  case F_OFD_GETLK:
    return kLock;
  case F_GETOWN_EX:
  case kGetOwnerIds:
  case kGetReadWriteHint:
  case kGetFileReadWriteHint:
    return kWord;
  default:
    return 0;
  }
}

} // namespace

bool outputs_known(const SystemCall& call) {
  switch (call.number) {
  case SYS_ioctl:
    return ioctl_output(call[1]) >= 0;
  case SYS_shmctl:
    return call[1] == IPC_RMID || call[1] == SHM_LOCK || call[1] == SHM_UNLOCK ||
           call[1] == IPC_SET || call[1] == IPC_STAT;
  case SYS_semctl:
    switch (call[2]) {
    case IPC_RMID:
    case IPC_SET:
    case SETVAL:
    case SETALL:
    case GETVAL:
    case GETPID:
    case GETNCNT:
    case GETZCNT:
      return true;
    default:
      return false;
    }
  case SYS_arch_prctl:
    return call[0] < 0x2000; // the numbers that this table was made from
  case SYS_msgctl:
  case SYS_quotactl:
  case SYS_keyctl:
  case SYS_bpf:
  case SYS_sysfs:
  case SYS_move_pages:
  case SYS_get_mempolicy:
  case SYS_io_getevents:
  case SYS_io_pgetevents:
  case SYS_io_submit:
  case SYS_io_cancel:
  case SYS_io_setup:
  case SYS_io_destroy:
  case SYS_ustat:
  case SYS_mount_setattr:
    return false;
  default:
    // Every other number that the table was made from.
    return (call.number >= 0 && call.number <= kLastOfOldNumbers) ||
           (call.number >= SYS_pidfd_send_signal && call.number <= kLastOfNewNumbers);
  }
}

void call_outputs(const SystemCall& call, std::int64_t result, RemoteMemory& memory,
                  std::vector<OutputRange>& out) {
  Collector to(memory, out);
  const std::uint64_t count = result > 0 ? static_cast<std::uint64_t>(result) : 0;
  // Calls that write even when they fail: the time that was left.
  switch (call.number) {
  case SYS_nanosleep:
    to.add(call[1], kTime);
    return;
  case SYS_clock_nanosleep:
    to.add(call[3], kTime);
    return;
  case SYS_poll:
    to.add(call[0], call[1] * kPollfd);
    return;
  case SYS_ppoll:
    to.add(call[0], call[1] * kPollfd);
    to.add(call[2], kTime);
    return;
  case SYS_select:
  case SYS_pselect6: {
    const std::uint64_t bytes = (std::min<std::uint64_t>(call[0], 1 << 20) + 63) / 64 * kWord;
    to.add(call[1], bytes);
    to.add(call[2], bytes);
    to.add(call[3], bytes);
    to.add(call[4], kTime);
    return;
  }
  case SYS_sched_setattr:
    to.add(call[1], kInt); // the size that the kernel knows, with E2BIG
    return;
  case SYS_capget:
    to.add(call[0], kWord);
    if (result >= 0) {
      to.add(call[1], 24);
    }
    return;
  case SYS_name_to_handle_at:
    to.add(call[2], kWord + (result >= 0 ? kAddressMax : 0));
    to.add(call[3], kInt);
    return;
  default:
    break;
  }
  if (result < 0) {
    return;
  }
  switch (call.number) {
  case SYS_read:
  case SYS_pread64:
  case SYS_readlink:
  case SYS_getdents:
  case SYS_getdents64:
  case SYS_listxattr:
  case SYS_llistxattr:
  case SYS_flistxattr:
  case SYS_syslog:
  case SYS_modify_ldt:
    to.add(call[1], count);
    return;
  case SYS_getrandom:
  case SYS_getcwd:
    to.add(call[0], count);
    return;
  case SYS_readlinkat:
  case SYS_getxattr:
  case SYS_lgetxattr:
  case SYS_fgetxattr:
    to.add(call[2], count);
    return;
  case SYS_lookup_dcookie:
    to.add(call[1], count);
    return;
  case SYS_sched_getaffinity:
    to.add(call[2], count);
    return;
  case SYS_readv:
  case SYS_preadv:
  case SYS_preadv2:
    to.buffers(call[1], call[2], count);
    return;
  case SYS_process_vm_readv:
    to.buffers(call[1], call[2], count);
    return;
  case SYS_mq_timedreceive:
    to.add(call[1], count);
    to.add(call[3], kInt);
    return;
  case SYS_msgrcv:
    to.add(call[1], count + kWord);
    return;
  case SYS_stat:
  case SYS_fstat:
  case SYS_lstat:
    to.add(call[1], kStat);
    return;
  case SYS_newfstatat:
    to.add(call[2], kStat);
    return;
  case SYS_statx:
    to.add(call[4], kStatx);
    return;
  case SYS_statfs:
  case SYS_fstatfs:
    to.add(call[1], kStatfs);
    return;
  case SYS_pipe:
  case SYS_pipe2:
    to.add(call[0], 2 * kInt);
    return;
  case SYS_socketpair:
    to.add(call[3], 2 * kInt);
    return;
  case SYS_accept:
  case SYS_accept4:
  case SYS_getsockname:
  case SYS_getpeername:
    to.socket_address(call[1], call[2]);
    return;
  case SYS_recvfrom:
    to.add(call[1], std::min(count, call[2]));
    to.socket_address(call[4], call[5]);
    return;
  case SYS_recvmsg:
    to.message(call[1], count);
    return;
  case SYS_recvmmsg:
    for (std::uint64_t i = 0; i < std::min(count, kMaxBuffers); ++i) {
      const std::uint64_t header = call[1] + i * kMultiMessage;
      to.message(header, to.value<std::uint32_t>(header + kMessageHeader));
      to.add(header, kMultiMessage);
    }
    to.add(call[4], kTime);
    return;
  case SYS_sendmmsg:
    to.add(call[1], count * kMultiMessage);
    return;
  case SYS_getsockopt:
    to.add(call[3], to.value<std::uint32_t>(call[4]));
    to.add(call[4], kInt);
    return;
  case SYS_wait4:
    to.add(call[1], kInt);
    to.add(call[3], kUsage);
    return;
  case SYS_waitid:
    to.add(call[2], kSignalInfo);
    to.add(call[4], kUsage);
    return;
  case SYS_uname:
    to.add(call[0], 390);
    return;
  case SYS_time:
    to.add(call[0], kWord);
    return;
  case SYS_gettimeofday:
    to.add(call[0], kTime);
    to.add(call[1], kWord);
    return;
  case SYS_clock_gettime:
  case SYS_clock_getres:
    to.add(call[1], kTime);
    return;
  case SYS_adjtimex:
    to.add(call[0], kTimex);
    return;
  case SYS_clock_adjtime:
    to.add(call[1], kTimex);
    return;
  case SYS_getrlimit:
    to.add(call[1], kLimit);
    return;
  case SYS_prlimit64:
    to.add(call[3], kLimit);
    return;
  case SYS_getrusage:
    to.add(call[1], kUsage);
    return;
  case SYS_sysinfo:
    to.add(call[0], 112);
    return;
  case SYS_times:
    to.add(call[0], kIntervalTime);
    return;
  case SYS_getitimer:
  case SYS_timer_gettime:
  case SYS_timerfd_gettime:
    to.add(call[1], kIntervalTime);
    return;
  case SYS_setitimer:
    to.add(call[2], kIntervalTime);
    return;
  case SYS_timer_settime:
  case SYS_timerfd_settime:
    to.add(call[3], kIntervalTime);
    return;
  case SYS_timer_create:
    to.add(call[2], kInt);
    return;
  case SYS_sched_getparam:
    to.add(call[1], kInt);
    return;
  case SYS_sched_rr_get_interval:
    to.add(call[1], kTime);
    return;
  case SYS_sched_getattr:
    to.add(call[1], call[2]);
    return;
  case SYS_getresuid:
  case SYS_getresgid:
    to.add(call[0], kInt);
    to.add(call[1], kInt);
    to.add(call[2], kInt);
    return;
  case SYS_getgroups:
    if (call[0] != 0) {
      to.add(call[1], count * kInt);
    }
    return;
  case SYS_rt_sigaction:
    to.add(call[2], 32);
    return;
  case SYS_rt_sigprocmask:
    to.add(call[2], kWord);
    return;
  case SYS_rt_sigpending:
    to.add(call[0], kWord);
    return;
  case SYS_rt_sigtimedwait:
    to.add(call[1], kSignalInfo);
    return;
  case SYS_sigaltstack:
    to.add(call[1], 24);
    return;
  case SYS_epoll_wait:
  case SYS_epoll_pwait:
  case SYS_epoll_pwait2:
    to.add(call[1], count * kEpollEvent);
    return;
  case SYS_futex:
    to.add(call[0], kInt);
    switch (call[1] & FUTEX_CMD_MASK) {
    case FUTEX_REQUEUE:
    case FUTEX_CMP_REQUEUE:
    case FUTEX_CMP_REQUEUE_PI:
    case FUTEX_WAIT_REQUEUE_PI:
    case FUTEX_WAKE_OP:
      to.add(call[4], kInt);
      break;
    default:
      break;
    }
    return;
  case SYS_sendfile:
    to.add(call[2], kWord);
    return;
  case SYS_splice:
  case SYS_copy_file_range:
    to.add(call[1], kWord);
    to.add(call[3], kWord);
    return;
  case SYS_getcpu:
    to.add(call[0], kInt);
    to.add(call[1], kInt);
    return;
  case SYS_arch_prctl:
    switch (call[0]) {
    case kArchGetFs:
    case kArchGetGs:
    case kArchGetXcompSupport:
    case kArchGetXcompPermission:
    case kArchGetXcompGuest:
      to.add(call[1], kWord);
      break;
    default:
      break;
    }
    return;
  case SYS_prctl:
    to.add(call[1], prctl_output(call[0]));
    return;
  case SYS_ioctl:
    to.add(call[2], static_cast<std::uint64_t>(std::max<std::int64_t>(ioctl_output(call[1]), 0)));
    return;
  case SYS_fcntl:
    to.add(call[2], fcntl_output(call[1]));
    return;
  case SYS_mincore:
    to.add(call[2], (call[1] + 4095) / 4096);
    return;
  case SYS_shmctl:
    if (call[1] == IPC_STAT) {
      to.add(call[2], sizeof(shmid_ds));
    }
    return;
  case SYS_get_robust_list:
    to.add(call[1], kWord);
    to.add(call[2], kWord);
    return;
  case SYS_mq_getsetattr:
    to.add(call[2], 64);
    return;
  default:
    return;
  }
}

bool writes_descriptor(const SystemCall& call) {
  switch (call.number) {
  case SYS_write:
  case SYS_pwrite64:
  case SYS_writev:
  case SYS_pwritev:
  case SYS_pwritev2:
  case SYS_sendto:
  case SYS_sendmsg:
    return true;
  default:
    return false;
  }
}

void written_bytes(const SystemCall& call, std::int64_t result, RemoteMemory& memory,
                   std::vector<OutputRange>& out) {
  if (result <= 0) {
    return;
  }
  Collector to(memory, out);
  const auto count = static_cast<std::uint64_t>(result);
  switch (call.number) {
  case SYS_write:
  case SYS_pwrite64:
  case SYS_sendto:
    to.add(call[1], count);
    return;
  case SYS_writev:
  case SYS_pwritev:
  case SYS_pwritev2:
    to.buffers(call[1], call[2], count);
    return;
  case SYS_sendmsg:
    to.sent_message(call[1], count);
    return;
  default:
    return;
  }
}

} // namespace rrpcp::replay
