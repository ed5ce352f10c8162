# Address spaces, mappings, and where the bytes of their pages are.
@0xf9ee5edae8a1b492;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("rrpcp::schema");

using Common = import "common.capnp";
using Rr = import "rr.capnp";
using MemoryPolicy = import "task.capnp".MemoryPolicy;

const noIndex :UInt32 = 0xffffffff;
# Value of an index field that refers to nothing.

struct AddressSpace {
  mappings @0 :List(Mapping);
  # Ordered by start, not overlapping.

  layout @1 :MemoryLayout;
  # The kernel's notion of the program's areas. Absent where the producer does not know it.

  auxv @2 :List(AuxiliaryEntry);
  # Auxiliary vector (getauxval(3), /proc/PID/auxv) without the closing AT_NULL, in order.

  executable @3 :UInt32 = 0xffffffff;
  # Index into State.memoryObjects of the file that /proc/PID/exe names.

  originalExecutable @4 :Data $Common.text;
  # Path of the executable as it was recorded, where it differs from the one that is mapped.

  executablePath @5 :Data $Common.text;
  # Path that /proc/PID/exe showed. Required for a space that can be restored.

  firstRunEvent @6 :Int64 $Common.notNegative;
  # Event at which the space was created (by exec or fork) in the recording. 0: not known.

  machine @7 :UInt16;
  # ELF e_machine of the space's tasks, where it is not the State's (a 32-bit program on a 64-bit
  # machine). 0: the State's.

  elfClass @8 :UInt8;
  # ELF class of the space's tasks (elf.h), 1 or 2, where it is not the State's. 0: the State's.

  attributes @9 :SpaceAttributes;
  # Absent: not recorded.

  rr @10 :Rr.SpaceState;
  # What rr keeps of a space besides. Absent: another producer.
}

struct SpaceAttributes {
  # What the kernel keeps of an address space beside its mappings. Every field is recorded where the
  # struct is present.

  coreDumpFilter @0 :UInt32;
  # /proc/PID/coredump_filter (core(5)).
  denyWriteExecute @1 :UInt32;
  # PR_MDWE_* of prctl(2) PR_GET_MDWE.
  hugePagesDisabled @2 :UInt32;
  # prctl(2) PR_GET_THP_DISABLE.
  mergeAll @3 :Bool;
  # prctl(2) PR_GET_MEMORY_MERGE.
  lockFuture @4 :Bool;
  # mlockall(2) MCL_FUTURE …
  lockFutureOnFault @5 :Bool;
  # … with MCL_ONFAULT.
  membarrier @6 :UInt32;
  # MEMBARRIER_CMD_REGISTER_* of membarrier(2), as MEMBARRIER_CMD_GET_REGISTRATIONS gives them.
  addressMask @7 :UInt64 = 0xffffffffffffffff;
  # x86: arch_prctl(2) ARCH_GET_UNTAG_MASK. All bits: addresses have no tags.
}

struct MemoryLayout {
  # Fields of struct prctl_mm_map (linux/prctl.h, prctl(2) PR_SET_MM): addresses in the space.
  startCode @0 :UInt64;
  endCode @1 :UInt64;
  startData @2 :UInt64;
  endData @3 :UInt64;
  startBrk @4 :UInt64;
  brk @5 :UInt64;
  startStack @6 :UInt64;
  argStart @7 :UInt64;
  argEnd @8 :UInt64;
  envStart @9 :UInt64;
  envEnd @10 :UInt64;
}

struct AuxiliaryEntry {
  type @0 :UInt64;
  # AT_* of getauxval(3).
  value @1 :UInt64;
}

struct Mapping {
  start @0 :UInt64;
  # First address; a multiple of the page size.

  end @1 :UInt64;
  # One past the last address; a multiple of the page size, above start.

  protection @2 :UInt32;
  # PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4 (mmap(2)); on AArch64 PROT_BTI 0x10.

  flags @3 :UInt32;
  # MAP_* of mmap(2) that describe the mapping: exactly one of MAP_SHARED 1 and MAP_PRIVATE 2, and
  # MAP_ANONYMOUS, MAP_GROWSDOWN, MAP_NORESERVE, MAP_LOCKED, MAP_HUGETLB, MAP_STACK, MAP_SYNC where
  # set.
  # Values are those of the space's machine.

  advice @4 :UInt32;
  # Lasting advice (madvise(2)), bits of spec/model.md "Advice bits".

  role @5 :MappingRole;
  # What the mapping is for, where that matters to a restore.

  pkey @6 :UInt16;
  # Memory protection key (pkeys(7)): 0 to 15 on x86, 0 to 7 on AArch64.

  object @7 :UInt32 = 0xffffffff;
  # Index into State.memoryObjects of what is mapped. noIndex: private anonymous memory.

  objectOffset @8 :UInt64;
  # Byte offset of start in the object; a multiple of the page size.

  name @9 :Data $Common.text;
  # Name as the producer's map showed it: a path, "[heap]", "[anon:…]", empty. For people.

  device @10 :UInt64;
  # Device number (st_dev of stat(2)) that the producer recorded for the mapping. 0: none.

  inode @11 :UInt64;
  # Inode number that the producer recorded for the mapping. 0: none.

  runs @12 :List(PageRun);
  # Contents from start to end, in order, without gaps. Empty: a mapping with an object reads as that
  # object, one without reads as zeros.

  maximumProtection @13 :UInt32;
  # Shared mappings: PROT_* that mprotect(2) may give, which depends on how the object had been
  # opened. 0: not known.

  lockedOnFault @14 :Bool;
  # With MAP_LOCKED: pages are locked when they are touched (mlock2(2) MLOCK_ONFAULT).

  droppable @15 :Bool;
  # mmap(2) MAP_DROPPABLE; `flags` has MAP_PRIVATE then.

  sealed @16 :Bool;
  # mseal(2).

  userFaults @17 :UInt32;
  # UFFDIO_REGISTER_MODE_* of userfaultfd(2). 0: none.

  memoryPolicy @18 :MemoryPolicy;
  # mbind(2), set_mempolicy_home_node(2). Absent: the thread's.

  rr @19 :Rr.MappingState;
  # What rr keeps of a mapping besides. Absent: another producer.
}

enum MappingRole {
  ordinary @0;
  guard @1;             # private anonymous, PROT_NONE, never touched: address space only
  stack @2;             # the initial stack of the process
  heap @3;              # the brk area
  vdso @4;              # code that the kernel maps; contents must match the restoring kernel's
  vvar @5;              # kernel data page beside the vDSO; contents are `unknown`
  vsyscall @6;          # fixed kernel page; contents are `unknown`, never restored
  shadowStack @7;       # return addresses that the processor keeps (x86 SHSTK, AArch64 GCS)
  replayer @8;          # memory that a replayer put into the tracee for its own purposes
}

struct PageRun {
  # A row of pages whose bytes come from one place. 24 bytes in a message.

  pages @0 :UInt64;
  # Length in pages, at least 1.

  first @1 :UInt64;
  # stream: index in the page stream of the first page; further ones follow it.
  # base: index of the first page in the base's page stream. Other kinds: 0.

  kind @2 :RunKind;

  source @3 :UInt32;
  # base: index into State.bases. Other kinds: 0.
}

enum RunKind {
  zero @0;      # all bytes 0; costs no page data
  stream @1;    # pages of this file's page stream
  backing @2;   # mapping: same place of its object; object: same place of its file
  unknown @3;   # the bytes are not stored: the kernel provides them, or they could not be read
  guard @4;     # madvise(2) MADV_GUARD_INSTALL: an access raises SIGSEGV
  base @5 $Common.since(1); # pages of another checkpoint's page stream (spec/series.md)
}

struct MemoryObject {
  length @0 :UInt64;
  # Bytes. For a file: its size; for shared memory and a System V segment above 0, for a memfd the
  # exact size of the file.

  device @1 :UInt64;
  # st_dev at capture, together with inode the identity under which mappings found the object.
  inode @2 :UInt64;

  runs @3 :List(PageRun);
  # Contents from 0 to length rounded up to pages, in order, without gaps; bytes of the last page
  # beyond length are 0. Empty for a file that is not embedded: all of it is `backing`.

  union {
    file @4 :FileIdentity $Common.required;
    # A file of a file system. Embedded where runs has `stream` or `zero` runs.
    anonymous @5 :Void;
    # Shared anonymous memory (mmap(2) MAP_SHARED|MAP_ANONYMOUS, /dev/zero).
    memfd @6 :Memfd $Common.required;
    # memfd_create(2).
    systemV @7 :SystemVSegment $Common.required;
    # shmget(2).
  }
}

struct Memfd {
  name @0 :Data $Common.text;
  # As given to memfd_create(2), without "memfd:" and " (deleted)".
  seals @1 :UInt32;
  # F_SEAL_* of fcntl(2), F_SEAL_EXEC included.
  mode @2 :UInt32 = 0xffffffff;
  # Permission bits of st_mode; execution is what MFD_NOEXEC_SEAL and MFD_EXEC decide. 2^32-1: not
  # recorded.
  uid @3 :UInt32 = 0xffffffff;
  gid @4 :UInt32 = 0xffffffff;
  # st_uid, st_gid. 2^32-1: not recorded.
  modifiedAt @5 :Int64 = -0x8000000000000000;
  # st_mtim in nanoseconds since 1970-01-01T00:00:00Z. -2^63: not recorded.
  hugePageSize @6 :UInt64;
  # Bytes, with MFD_HUGETLB. 0: ordinary pages.
  secret @7 :Bool;
  # memfd_secret(2).
}

struct SystemVSegment {
  key @0 :Int32;
  # Key of shmget(2); 0 is IPC_PRIVATE.
  id @1 :Int32 = -1;
  # Identifier at capture. -1: not recorded.
  mode @2 :UInt32 = 0xffffffff;
  # Permission bits. 2^32-1: not recorded.
  uid @3 :UInt32 = 0xffffffff;
  gid @4 :UInt32 = 0xffffffff;
  # shm_perm.uid, .gid of shmctl(2). 2^32-1: not recorded.
  creatorUid @5 :UInt32 = 0xffffffff;
  creatorGid @6 :UInt32 = 0xffffffff;
  # shm_perm.cuid, .cgid. 2^32-1: not recorded.
  hugePageSize @7 :UInt64;
  # Bytes, with SHM_HUGETLB. 0: ordinary pages.
}

struct FileIdentity {
  path @0 :Data $Common.text;
  # Bytes of the path. Absolute, or relative to the trace directory by pathBase.
  pathBase @1 :PathBase;
  size @2 :UInt64;
  # st_size in bytes.
  modifiedAt @3 :Int64 = -0x8000000000000000;
  # st_mtim in nanoseconds since 1970-01-01T00:00:00Z. -2^63: not recorded.
  mode @4 :UInt32;
  # st_mode of stat(2). 0: not recorded.
  buildId @5 :Data;
  # Descriptor of the ELF note NT_GNU_BUILD_ID. Empty: none.
  digests @6 :List(RangeDigest);
  # Digests of the ranges that `backing` runs use, ordered by offset, not overlapping.
  deleted @7 :Bool;
  # The path no longer named the file at capture.
  uid @8 :UInt32 = 0xffffffff;
  gid @9 :UInt32 = 0xffffffff;
  # st_uid, st_gid, recorded where the file is made anew: where it was deleted. 2^32-1: not recorded.
}

enum PathBase {
  absolute @0;
  trace @1;     # relative to the directory of the trace that the checkpoint is bound to
}

struct RangeDigest {
  offset @0 :UInt64;
  # Bytes from the start of the file.
  length @1 :UInt64;
  # Bytes. A range is cut at the end of the file.
  high @2 :UInt64;
  low @3 :UInt64;
  # XXH3-128 (seed 0) of the range: upper and lower 64 bits.
  sha256 @4 :Data;
  # SHA-256 of the range, 32 bytes, by which forged contents are told too. Empty: not recorded.
}
