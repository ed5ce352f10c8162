# The replayer's own state: what a restored supervisor must agree on.
@0xe6154d41015ffe00;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("rrpcp::schema");

using SignalInfo = import "task.capnp".SignalInfo;

struct Session {
  statistics @0 :Statistics;
  nextTaskSerial @1 :UInt32;
  # Serial that the next task will get.
  lastContinuedTask @2 :TaskId;
  # Task that a debugger last let run.
  lastSignal @3 :SignalInfo;
  # Signal that was last seen. Absent: none.
  currentStep @4 :ReplayStep;
  # What the replayer was doing. Absent: at an event boundary with nothing begun.
  where @5 :Data;
  # Description of the place for people, as a debugger shows it.
  legacyId @6 :UInt64;
  # Number under which the producer listed the checkpoint. 0: none.
  mappedFiles @7 :List(MappedFile);
  # The replayer's table of files that monitored mappings came from, ordered by (device, inode).
}

struct Statistics {
  bytesWritten @0 :UInt64;
  # Bytes written into tracees since the replay began.
  ticksProcessed @1 :Int64;
  # Ticks of all tasks since the replay began.
  systemCallsPerformed @2 :UInt64;
}

struct TaskId {
  pid @0 :Int32;
  processSerial @1 :UInt32;
  tid @2 :Int32;
  taskSerial @3 :UInt32;
}

struct ReplayStep {
  action @0 :Action;
  machine @1 :UInt16;
  # ELF e_machine of the system call. 0: the State's.
  systemCall @2 :Int32 = -1;
  # System-call number. -1: none.
  targetTicks @3 :Int64 = -1;
  # Ticks at which the signal is due. -1: none.
  signal @4 :Int32;
  # 0: none.
  bufferHook @5 :UInt64;
  # Address of the system-call hook, where the signal is due inside a buffered system call. 0: not.
  flushOffset @6 :UInt64;
  # Flush of the system-call buffer: offset in the buffer, in units of 8 bytes, at which to stop.
  flushTicks @7 :Int64;
  # Flush of the system-call buffer: ticks recorded, slop included.

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
  inode @1 :UInt64;
  path @2 :Data;
}
