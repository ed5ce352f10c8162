# What rr keeps of a replay beyond what every producer stores: one struct for each of the model's
# structs that needs it, reached by that struct's field `rr`. spec/rr.md explains every field. Only
# the producer org.rr-project.rr sets them; every other producer leaves the pointers null.
@0xcddea2628a4e5cf4;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("rrpcp::schema::rr");

using Common = import "common.capnp";
using TaskId = Common.TaskId;

struct SessionState {
  # Session.rr: what the replay as a whole knows.

  checkpointNumber @0 :UInt64;
  # Number under which rr listed the checkpoint. 0: none.

  currentStep @1 :ReplayStep;
  # What rr was doing. Absent: at an event boundary with nothing begun.

  mappedFiles @2 :List(MappedFile);
  # Files that monitored mappings came from, ordered by (device, inode).

  lastTask @3 :TaskId;
  # Task that the event before was about (`last_task_tuid`). Absent: none or not recorded.

  skipNextExecutionEvent @4 :Bool;
  # The next time the program stops for execution it is not told (`skip_next_execution_event`).

  cpuidBugDetector @5 :CpuidBugDetector;
  # Absent: not recorded.

  hasPointerAuthentication @6 :Bool;
  # AArch64: the recorded machine had pointer authentication (`hasPAuth` of the trace's header).

  hasTpidr @7 :Bool;
  # AArch64: the trace has the register TPIDR_EL0 (`hasTPIDR` of the trace's header).
}

struct CpuidBugDetector {
  # Watches for a virtual machine that hides a conditional branch between two CPUID instructions.

  recordedTicks @0 :UInt64;
  # Ticks that the trace had at the last geteuid32.

  actualTicks @1 :UInt64;
  # Ticks that the replay had there.

  detected @2 :Bool;
  # They differed: the machine has the fault.
}

struct ReplayStep {
  # What rr was doing at the checkpoint (`ReplayTraceStep`).

  action @0 :Action;

  machine @1 :UInt16;
  # ELF e_machine of the system call. 0: the State's.

  systemCall @2 :Int32 = -1;
  # System-call number. -1: none.

  targetTicks @3 :Int64 = -1;
  # Ticks at which the signal is due. -1: none.

  signal @4 :Int32;
  # 1 to 64. 0: none.

  bufferHook @5 :UInt64;
  # Address of the system-call hook, where the signal is due inside a buffered system call. 0: not.

  flushOffset @6 :UInt64;
  # Flush of the system-call buffer: offset in the buffer, in units of 8 bytes, at which to stop.

  flushTicks @7 :Int64;
  # Flush of the system-call buffer: ticks recorded, slop included. Any value.

  enum Action {
    none @0;
    retire @1;                  # the event is replayed
    enterSystemCall @2;
    exitSystemCall @3;
    deterministicSignal @4;
    asynchronousInterrupt @5;   # go on to targetTicks
    deliverSignal @6;
    flushBuffer @7;
    patchSystemCall @8;         # patch the next system call at its entry
    exitTask @9;
    patchAfterSystemCall @10;   # patch the next system call at its exit
    patchInstruction @11;       # patch at the recorded instruction pointer
    patchVsyscall @12;          # patch a caller of the vsyscall page
  }
}

struct MappedFile {
  device @0 :UInt64;
  # st_dev.
  inode @1 :UInt64;
  # st_ino.
  path @2 :Data $Common.text;
}

struct MarkState {
  # Mark.rr: what tells marks with equal ticks apart.

  stepKey @0 :Int32;
  # Any value. 0: none.

  returnAddresses @1 :List(UInt64);
  # Innermost first, as rr found them on the stack; 0 where there is none.

  singleStepsWithoutSignal @2 :Bool;
  # The mark is reached from the one before it by single steps that meet no signal.
}

struct ThreadGroupState {
  # Process.rr: what rr's ThreadGroup has besides.

  ownNamespacePid @0 :Int32 $Common.notNegative;
  # Pid in the process's own pid namespace. 0: not recorded.

  firstRunEvent @1 :Int64 $Common.notNegative;
  # Event at which a task of the group first ran. Reverse execution stops there. 0: not recorded.

  waitStatus @2 :Int32;
  # Status word of waitpid(2) with which the group ended. 0: it has not, or ended with exit code 0.

  madeUndumpable @3 :Bool;
  # It asked to be not dumpable; rr keeps it dumpable and answers as if it were not.

  executed @4 :Bool;
  # It has executed a program (execve(2)) since it began.

  parent @5 :Int32 $Common.notNegative;
  # Pid of the group's parent among the recorded ones. 0: none or not recorded.
}

struct TaskState {
  # Task.rr: what rr's CapturedState of a task has besides.

  name @0 :Data $Common.text;
  # rr's own name of the task where it is not Task.name: rr takes a program's whole name. Empty:
  # Task.name.

  waitStatus @1 :Int32;
  # Status word of the last stop (waitpid(2)). Any value; 0: none.

  scratchAddress @2 :UInt64;
  # Memory that rr uses for its own purposes in the tracee. 0: none.

  scratchSize @3 :UInt64;
  # Bytes.

  topOfStack @4 :UInt64;
  # Address. 0: not known.

  tlsRegister @5 :UInt64;
  # Thread-pointer register where it is not part of a register set. 0: not recorded.

  threadLocals @6 :Data;
  # Bytes of the preload library's thread-local variables, of whatever length rr wrote.

  syscallBuffer @7 :SyscallBuffer;
  # Absent: the task has none.

  preloadGlobals @8 :UInt64;
  # Address of the preload library's global variables. 0: none.

  restoreRank @9 :UInt32;
  # Rank in which rr makes the tasks of one address space again: 1 is the one that the others are
  # cloned from, which need not be the leader of a process. 0: not recorded.
}

struct SyscallBuffer {
  address @0 :UInt64;
  # Of the buffer in the tracee. 0: none.

  size @1 :UInt64;
  # Bytes.

  usedBytes @2 :UInt64;
  # Bytes of records in it.

  deschedFd @3 :Int32 = -1;
  # Descriptor of the deschedule event in the tracee. -1: none.

  clonedFileDataFd @4 :Int32 = -1;
  # Descriptor of the cloned-data file in the tracee. -1: none.

  clonedFileDataPath @5 :Data $Common.text;

  clonedFileDataOffset @6 :UInt64;
  # Position in the cloned-data file, in bytes.
}

struct SpaceState {
  # AddressSpace.rr.

  syscallBuffering @0 :Bool;
  # System-call buffering is active in this space.

  breakpointFaultAddress @1 :UInt64;
  # Address at which the replay of a breakpoint fault waits. 0: none.

  savedMemory @2 :List(SavedMemory);
  # Memory contents that rr put aside to write back later, ordered by address.

  replayPid @3 :Int32 $Common.notNegative;
  # Id of the space's process in the replay that wrote the checkpoint. 0: not known.

  leader @4 :TaskId;
  # Task that the space is named after, and with `execCount` its name: monitors of /proc/PID/mem
  # refer to it so. Absent: not recorded.

  execCount @5 :UInt32;
  # Programs executed before in the process of `leader`.

  tracedSystemCallAddress @6 :UInt64;
  # Where rr's traced system calls are made from (`traced_syscall_ip`). 0: not recorded.

  privilegedSystemCallAddress @7 :UInt64;
  # Where those are made from that no filter of the program sees. 0: not recorded.

  vdsoStart @8 :UInt64;
  # First address of the vDSO. 0: none or not recorded.

  interpreterPath @9 :Data $Common.text;
  # Dynamic loader of the program. Empty: none or not recorded.

  interpreterBase @10 :UInt64;
  # Address it is mapped at. 0: none or not recorded.

  threadLocalsTask @11 :TaskId;
  # Task whose thread-local variables are in the preload library's page. Absent: not recorded.

  layoutRandomizationDisabled @12 :Bool;
  # The program asked for ADDR_NO_RANDOMIZE (personality(2)).
}

struct SavedMemory {
  address @0 :UInt64;
  data @1 :Data;
}

struct MappingState {
  # Mapping.rr.

  use @0 :MappingUse;
  # What rr uses the mapping for.

  fileOffset @1 :UInt64;
  # Byte offset in the mapped file as rr recorded it, which the object may not say.

  monitoringSkipped @2 :Bool;
  # Writes through the mapped descriptor are not watched.

  pageFile @3 :Data $Common.text;
  # Name of the page file that the contents were imported from (spec/legacy-rr.md). Empty: none.
}

enum MappingUse {
  none @0;            # the program's own
  syscallBuffer @1;   # a task's system-call buffer
  rrPage @2;          # rr's page of system-call instructions; also the page of thread-locals where
                      # the representation did not tell the two apart
  threadLocals @3;    # page of the preload library's thread-local variables
  patchStubs @4;      # code that patched system calls jump to
  vdsoPage @5;        # the page that rr put in the place of the kernel's vDSO
  scratch @6;         # a task's scratch memory
}

struct FileTableState {
  # FileTable.rr.

  identity @0 :UInt64;
  # rr's name of the table: equal for tasks that share one. 0: none.

  monitors @1 :List(FileMonitor);
  # What rr watches, ordered by fd.

  monitorsUnknown @2 :Bool;
  # rr knew the table but its representation did not store the monitors: `monitors` is empty and
  # says nothing.
}

struct FileMonitor {
  # How rr watches one descriptor of a tracee.

  fd @0 :Int32 $Common.notNegative;

  kind @1 :Kind;

  legacyType @2 :Int32 = -1;
  # Number that rr's own enumeration had. -1: none.

  union {
    plain @3 :Void;           # the kind says all, or its details were not stored
    mmapped :group {
      dead @4 :Bool;          # no longer watched
      device @5 :UInt64;      # st_dev
      inode @6 :UInt64;       # st_ino
    }
    procFd :group {           # /proc/PID/fd
      tid @7 :Int32;
      serial @8 :UInt32;
    }
    procMem :group {          # /proc/PID/mem of an address space
      tid @9 :Int32;          # with serial and execCount its name; 0: of no tracee
      serial @10 :UInt32;
      execCount @11 :UInt32;
    }
    stdio :group {
      originalFd @12 :Int32;  # 1 or 2
    }
    procStat :group {
      data @13 :Data;         # recorded contents
    }
    bpfMap :group {
      keySize @14 :UInt64;    # bytes
      valueSize @15 :UInt64;  # bytes
    }
    pidFd :group {
      tid @16 :Int32;
      serial @17 :UInt32;
    }
    virtualPerfCounter :group {
      target @18 :Int32;      # tid whose ticks are counted
      targetSerial @19 :UInt32;
      initialTicks @20 :Int64;  # any value
      enabled @21 :Bool;
      samplePeriod @22 :UInt64; # ticks
    }
  }

  enum Kind {
    base @0;
    magicSaveData @1;
    mmapped @2;
    preserve @3;
    procFd @4;
    procMem @5;
    stdio @6;
    virtualPerfCounter @7;
    nonvirtualPerfCounter @8;
    sysCpu @9;
    procStat @10;
    rrPage @11;
    odirect @12;
    bpfMap @13;
    pidFd @14;
    other @15;
  }
}
