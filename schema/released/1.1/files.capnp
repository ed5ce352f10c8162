# File-descriptor tables, open files, locks and a replayer's monitors of descriptors.
@0x95c51b186f974179;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("rrpcp::schema");

using FileIdentity = import "memory.capnp".FileIdentity;
using Common = import "common.capnp";
using Rr = import "rr.capnp";

struct FileTable {
  descriptors @0 :List(FileDescriptor);
  # Ordered by fd.
  contentsUnknown @1 :Bool;
  # The producer knew that the table exists but did not store what is in it: `descriptors` is empty
  # and says nothing.
  rr @2 :Rr.FileTableState;
  # What rr keeps of a table besides. Absent: another producer.
}

struct FileDescriptor {
  fd @0 :Int32 $Common.notNegative;
  # 0 or above.
  openFile @1 :UInt32;
  # Index into State.openFiles.
  closeOnExec @2 :Bool;
}

struct FileSystemContext {
  workingDirectory @0 :Data $Common.text;
  # getcwd(2), absolute.
  rootDirectory @1 :Data $Common.text;
  # chroot(2), absolute; "/" is the usual one.
  umask @2 :UInt32;
  # umask(2), 0 to 0777.
}

struct OpenFile {
  # An open file description (open(2)): what dup(2) and fork(2) share.
  flags @0 :UInt32;
  # O_* of open(2) as fcntl(2) F_GETFL gives them (O_CLOEXEC is the descriptor's).
  offset @1 :UInt64;
  # Byte position (lseek(2)); 0 where the kind has none.
  locks @2 :List(FileLock);
  # Advisory locks held (/proc/PID/fdinfo), in the kernel's order.
  owner @3 :Int32;
  # fcntl(2) F_GETOWN. 0: none.
  ownerSignal @4 :Int32;
  # fcntl(2) F_GETSIG. 0: none.
  union {
    regular @5 :FileIdentity $Common.required;
    # Reopened by path; size and time of modification are compared.
    directory @6 :FileIdentity $Common.required;
    device :group {
      # A character or block device.
      path @7 :Data $Common.text;
      number @8 :UInt64;      # st_rdev
    }
    terminal :group {
      # A tty(4) or pts(4).
      path @9 :Data $Common.text;
      settings @22 :TerminalSettings;   # absent: not recorded
    }
    pipe :group {
      # One end of pipe(2); ends with the same id belong together.
      id @10 :UInt64;         # inode at capture
      capacity @11 :UInt64;   # F_GETPIPE_SZ, bytes
      contents @12 :Data;     # unread bytes, on the read end only
      external @13 :Bool;     # the other end is held by a process outside the checkpoint
    }
    socket :group {
      # One that cannot be carried: described for people.
      description @14 :Text;
    }
    eventfd :group {
      # eventfd(2).
      count @15 :UInt64;
      semaphore @16 :Bool;
    }
    epoll :group {
      # epoll(7).
      watches @17 :List(EpollWatch);
    }
    memfd :group {
      # A descriptor of a memory object.
      object @18 :UInt32;     # index into State.memoryObjects
    }
    other :group {
      # A kind that 1.0 does not carry.
      description @19 :Text;  # target of /proc/PID/fd/N, as "anon_inode:inotify"
    }
    fifo @20 :FileIdentity $Common.required;
    # fifo(7) with a name.
    path @21 :FileIdentity $Common.required;
    # Opened with O_PATH.
    timerfd :group {
      # timerfd_create(2).
      clock @23 :Int32;         # clockid_t
      settings @24 :UInt32;     # TFD_TIMER_* of timerfd_settime(2)
      interval @25 :UInt64;     # nanoseconds; 0: one shot
      remaining @26 :UInt64;    # nanoseconds until the next expiration; 0: disarmed
      ticks @27 :UInt64;        # expirations that were not read yet
    }
    signalfd :group {
      # signalfd(2).
      mask @28 :UInt64;         # bit N-1 for signal N
    }
    inotify :group {
      # inotify(7).
      watches @29 :List(InotifyWatch);
      events @30 :Data;         # struct inotify_event that were not read yet
    }
    pidfd :group {
      # pidfd_open(2).
      pid @31 :Int32;           # process, or thread where flags has PIDFD_THREAD; as the holder
                                # sees it. -1: it has ended and was waited for
      inCheckpoint @32 :Bool;   # it is a process or task of this checkpoint
    }
    socketEnd @33 :SocketEnd $Common.required;
    # One of a pair of connected sockets whose other end is in the checkpoint, or gone.
  }
  ownerIsThread @34 :Bool;
  # fcntl(2) F_GETOWN_EX: `owner` is a thread's id (F_OWNER_TID).
  ownerUid @35 :UInt32;
  ownerEffectiveUid @36 :UInt32;
  # fcntl(2) F_GETOWNER_UIDS: by whose rights the owner is signalled.
  contentsObject @37 :UInt32 = 0xffffffff;
  # Regular files: index into State.memoryObjects of an embedded file, where the checkpoint has what
  # the path no longer names (unlink(2), O_TMPFILE). noIndex: the path has it.
}

struct TerminalSettings {
  attributes @0 :Data;
  # struct termios2 of TCGETS2 (ioctl_tty(2)), 44 bytes on x86 and AArch64.
  rows @1 :UInt16;
  columns @2 :UInt16;
  xPixels @3 :UInt16;
  yPixels @4 :UInt16;
  # TIOCGWINSZ.
  foregroundGroup @5 :Int32 $Common.notNegative;
  # TIOCGPGRP. 0: none, or not known.
  session @6 :Int32 $Common.notNegative;
  # TIOCGSID. 0: none, or not known.
}

struct InotifyWatch {
  descriptor @0 :Int32 $Common.notNegative;
  # What inotify_add_watch(2) gave.
  mask @1 :UInt32;
  # IN_*.
  path @2 :Data $Common.text;
  # Where the producer found what is watched. Empty: nowhere.
  device @3 :UInt64;
  inode @4 :UInt64;
  # Its st_dev and st_ino.
  handleType @5 :Int32;
  handle @6 :Data;
  # Its file handle (name_to_handle_at(2)). Empty: none.
}

struct SocketEnd {
  id @0 :UInt64;
  # Inode at capture.
  peer @1 :UInt64;
  # Id of the other end. 0: it is gone.
  domain @2 :UInt32;
  # AF_* of socket(2).
  type @3 :UInt32;
  # SOCK_*.
  protocol @4 :UInt32;
  received @5 :List(SocketMessage);
  # What can be read, in order.
  readShut @6 :Bool;
  writeShut @7 :Bool;
  # shutdown(2).
  options @8 :List(SocketOption);
  # Those that differ from a new socket's, ordered by (level, name).
  peerPid @9 :Int32 $Common.notNegative;
  peerUid @10 :UInt32;
  peerGid @11 :UInt32;
  # SO_PEERCRED.
  address @12 :Data;
  # struct sockaddr of getsockname(2). Empty: none.
}

struct SocketMessage {
  data @0 :Data;
  # A message, or for a stream bytes of one sender.
  openFiles @1 :List(UInt32);
  # SCM_RIGHTS: indices into State.openFiles.
  pid @2 :Int32 $Common.notNegative;
  uid @3 :UInt32;
  gid @4 :UInt32;
  # SCM_CREDENTIALS of the sender. pid 0: not recorded.
  address @5 :Data;
  # struct sockaddr of the sender. Empty: none.
}

struct SocketOption {
  level @0 :Int32;
  name @1 :Int32;
  # Of getsockopt(2).
  value @2 :Data;
}

struct EpollWatch {
  fd @0 :Int32 $Common.notNegative;
  # Descriptor watched.
  events @1 :UInt32;
  # EPOLL* of epoll_ctl(2).
  data @2 :UInt64;
}

struct FileLock {
  kind @0 :Kind;
  exclusive @1 :Bool;
  # True: write lock; false: read lock.
  start @2 :UInt64;
  # First byte.
  end @3 :UInt64;
  # Last byte, inclusive; 2^63-1: to the end of the file.
  breaking @4 :LeaseBreak;
  # Leases: whether somebody has asked for the file, and what is left of the lease then.

  enum LeaseBreak {
    none @0;
    toRead @1;                # a write lease that is to become a read lease
    toNone @2;                # to be given up
  }

  enum Kind {
    posix @0;                 # fcntl(2) F_SETLK
    openFileDescription @1;   # fcntl(2) F_OFD_SETLK
    flock @2;                 # flock(2)
    lease @3;                 # fcntl(2) F_SETLEASE
  }
}
