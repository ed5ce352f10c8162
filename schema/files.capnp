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
    }
    pipe :group {
      # One end of pipe(2); ends with the same id belong together.
      id @10 :UInt64;         # inode at capture
      capacity @11 :UInt64;   # F_GETPIPE_SZ, bytes
      contents @12 :Data;     # unread bytes, on the read end only
      external @13 :Bool;     # the other end is held by a process outside the checkpoint
    }
    socket :group {
      # Described for people; cannot be carried.
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
  }
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

  enum Kind {
    posix @0;                 # fcntl(2) F_SETLK
    openFileDescription @1;   # fcntl(2) F_OFD_SETLK
    flock @2;                 # flock(2)
    lease @3;                 # fcntl(2) F_SETLEASE
  }
}
