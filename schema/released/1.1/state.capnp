# The stored state of a replay or of a live process: the part that the checkpoint id covers.
@0xe48e590c5e553121;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("rrpcp::schema");

using Common = import "common.capnp";
using Memory = import "memory.capnp";
using Tasks = import "task.capnp";
using Files = import "files.capnp";
using Positions = import "position.capnp";
using Sessions = import "session.capnp";

struct State {
  machine @0 :UInt16;
  # ELF e_machine of the tasks (elf.h EM_*): 62 x86-64, 183 AArch64, 3 i386. Required.

  elfClass @20 :UInt8;
  # ELF class of the tasks (elf.h EI_CLASS): 1 ELFCLASS32, 2 ELFCLASS64. Required: some machines have
  # one number for both.

  dataEncoding @21 :UInt8;
  # Byte order of the tasks (elf.h EI_DATA): 1 ELFDATA2LSB, 2 ELFDATA2MSB. Required.

  pageStream @1 :PageStream $Common.required;
  # Geometry of the page data. Required.

  producer @2 :Text;
  # Registered id of the kind of program whose state this is (spec/registry.md), as
  # "org.rr-project.rr" or "org.rrpcp.process". Required.

  position @3 :Positions.Position;
  # Where in the replay the state was taken. Absent for a live process without a trace.

  trace @4 :Positions.TraceBinding;
  # The trace that the checkpoint belongs to. Absent for a live process without a trace.

  processes @5 :List(Tasks.Process);
  # Thread groups, ordered by pid.

  tasks @6 :List(Tasks.Task);
  # Threads, ordered by (process, not leader, tid): the leader of a process comes first.

  addressSpaces @7 :List(Memory.AddressSpace);
  # Every address space that a task uses; a space shared by several processes is stored once.

  memoryObjects @8 :List(Memory.MemoryObject);
  # Shared memory and mapped files, each described once; mappings refer to them by index.

  openFiles @9 :List(Files.OpenFile);
  # Open file descriptions; file descriptors of any table refer to them by index.

  fileTables @10 :List(Files.FileTable);
  # File-descriptor tables; tasks refer to them by index (CLONE_FILES shares one).

  fileSystemContexts @11 :List(Files.FileSystemContext);
  # Working directory, root and umask; tasks refer to them by index (CLONE_FS shares one).

  signalHandlerTables @12 :List(Tasks.SignalHandlerTable);
  # Signal dispositions; tasks refer to them by index (CLONE_SIGHAND shares one).

  cpu @13 :Cpu;
  # What the state expects of the processor. Required for a state that can be restored.

  session @14 :Sessions.Session;
  # The replayer's own state. Absent for a live process without a replayer.

  extensions @15 :List(Extension);
  # State that the model does not know, ordered by id; ids are unique.

  namespaceSets @16 :List(Tasks.NamespaceSet);
  # Namespaces; tasks refer to them by index.

  clocks @17 :Clocks;
  # The machine's clocks at the moment of capture. Absent: not recorded.

  omissions @18 :List(Omission);
  # What was left out because whoever captured allowed it, ordered by (name, what).

  inspectOnly @19 :Bool;
  # The state is for looking at, and must not be restored or replayed.

  bases @22 :List(BaseCheckpoint) $Common.since(1);
  # Checkpoints to whose page streams runs of kind `base` refer; from the first of the series to the
  # latest.
}

struct BaseCheckpoint {
  # Another checkpoint of the same trace, whose pages this one takes over (spec/series.md).
  id @0 :Data;
  # Its checkpoint id, the 32 bytes of its footer.
  pageCount @1 :UInt64;
  # Pages of its stream, at least 1.
  chunkPages @2 :UInt32;
  # Pages of its chunks. Its pages have the size of this file's.
  event @3 :Int64 $Common.notNegative;
  # Event of its stored state. 0: without a trace.
  seal @4 :Data;
  # SHA-256 of its seal, 32 bytes. Empty: it had none.
}

struct Clocks {
  # clock_gettime(2), nanoseconds, as the tasks see them.
  realtime @0 :Int64;
  monotonic @1 :Int64;
  boottime @2 :Int64;
  bootId @3 :Data;
  # The 16 bytes of /proc/sys/kernel/random/boot_id: ids of namespaces, and monotonic clocks, can be
  # compared only with those of the same start of the machine.
}

struct Omission {
  name @0 :Text;
  # Under which it was allowed, as "children" (spec/restore.md).
  what @1 :Text;
  # One sentence for people.
}

struct PageStream {
  pageSize @0 :UInt32;
  # Bytes of a page of every run in this file: a power of two from 4 KiB to 2 MiB. Required.

  chunkPages @1 :UInt32;
  # Pages of every chunk but the last: 1 to 4096, with pageSize * chunkPages at most 16 MiB.

  pageCount @2 :UInt64;
  # Pages of the stream; the last chunk has what remains.
}

struct Cpu {
  xsaveFeatures @0 :UInt64;
  # x86: union of the state-component bits in use in the tasks' XSAVE areas (XSTATE_BV, Intel SDM
  # volume 1, chapter 13). A machine whose XCR0 lacks one of them cannot run the state.

  xsaveLayout @1 :List(XsaveComponent);
  # x86: where the components of a standard-format XSAVE area lie, as CPUID leaf 0xD of the
  # capturing processor says, ordered by number. Components 0 and 1 are in the legacy area and
  # not listed.

  cpuid @2 :List(CpuidLeaf);
  # x86: CPUID leaves that the producer wants a restoring machine to be compared with, ordered by
  # (leaf, subleaf). May be empty.

  hwcap @3 :UInt64;
  # AT_HWCAP of the tasks (getauxval(3)). 0: unknown.

  hwcap2 @4 :UInt64;
  # AT_HWCAP2 of the tasks. 0: unknown.
}

struct XsaveComponent {
  number @0 :UInt8;
  # State-component number, 2 to 62 (2 AVX, 5 to 7 AVX-512, 9 PKRU, …).

  offset @1 :UInt32;
  # Byte offset in the standard-format area.

  size @2 :UInt32;
  # Bytes.
}

struct CpuidLeaf {
  leaf @0 :UInt32;
  subleaf @1 :UInt32;
  eax @2 :UInt32;
  ebx @3 :UInt32;
  ecx @4 :UInt32;
  edx @5 :UInt32;
}

struct Extension {
  id @0 :Text;
  # Reverse-DNS id registered in spec/registry.md, as "org.rr-project.replay-trace-step". Not empty.

  version @1 :UInt32;
  # Version of the payload's own format.

  critical @2 :Bool;
  # True: a reader that does not know id and version must refuse to restore or replay from the
  # checkpoint. False: it may ignore the extension. Either way it is kept on rewriting.

  payload @3 :Data;
  # Bytes as the extension's own document says.
}
