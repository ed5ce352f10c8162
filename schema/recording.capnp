# The messages of a trace besides its events (spec/trace.md).
@0xf6a7dce3f262f1ea;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("rrpcp::schema");

using Common = import "common.capnp";

using Cpu = import "state.capnp".Cpu;
using FileIdentity = import "memory.capnp".FileIdentity;

struct TraceStart {
  # First record of a trace: what is known when a recording begins.

  recorder @0 :Text;
  # Program and version that recorded, as "rrpcp 0.1.0".

  startedAt @1 :Int64;
  # Nanoseconds since 1970-01-01T00:00:00Z. 0: not recorded.

  hostName @2 :Text;
  # uname(2) nodename. Empty: not recorded.

  kernelRelease @3 :Text;
  # uname(2) release. Empty: not recorded.

  commandLine @4 :List(Data) $Common.text;
  # argv of the program that is recorded.

  environment @5 :List(Data) $Common.text;
  # As "NAME=value".

  workingDirectory @6 :Data $Common.text;
  # Absolute.

  pageSize @7 :UInt32;
  # Bytes of a page of the recording machine: 4096, 16384 or 65536. Required.

  cpu @8 :Cpu;
  # What the recording processor offered to the program; a replaying one is compared with it.

  processor @10 :Int32 = -1;
  # Number of the processor that all tasks were bound to (sched_setaffinity(2)): the CPUID
  # instruction tells it, and a replay is bound to the same one where it can be. -1: to none.

  cpuidFaulting @9 :Bool;
  # The CPUID instruction was trapped or replaced while recording, and is replayed from events.
  # False: the program saw the recording processor's own answers.

  cpuidModel @11 :Text;
  # What CPUID told the program: "native" for the recording processor as it was, "x86-64-v2" and
  # the like for one with no more than the features of that level of the x86-64 psABI. `cpu` has
  # what the program was told. Empty: not recorded.
}

struct TraceFile {
  # A file of the recording machine that the trace keeps.

  path @0 :Data $Common.text;
  # Absolute path while recording. For people: it may name something else today.

  device @1 :UInt64;
  # st_dev of stat(2).

  inode @2 :UInt64;
  # st_ino.

  stored @3 :FileIdentity;
  # The copy, relative to the trace directory, with one digest over all of it. Size, time of
  # modification and mode are the original's.

  way @4 :Way;
  # How the trace came by it.

  enum Way {
    copy @0;      # the bytes were copied
    reflink @1;   # a copy that shares its blocks with the original (ioctl_ficlonerange(2))
    hardLink @2;  # another name of the original itself
  }
}

struct TraceTask {
  # A thread that was recorded.

  tid @0 :Int32;
  # Recorded id, above 0.

  pid @1 :Int32;
  # Recorded id of its thread group.

  parentPid @2 :Int32;
  # Recorded id of the thread group that made it. 0: the recorder.

  firstEvent @3 :Int64;
  # Event that made it; the first task's is that of its exec.

  lastEvent @4 :Int64;
  # Event at which it ended. 0: it was alive at the end of the trace.

  exitStatus @5 :Int32;
  # Wait status of waitpid(2). Means something where lastEvent is not 0.

  executions @6 :List(Execution);
  # In order of their events.
}

struct Execution {
  # A successful execve(2).
  event @0 :Int64;
  path @1 :Data $Common.text;
  # Path of the executable.
  commandLine @2 :List(Data) $Common.text;
}

struct TraceEnd {
  # Last record of a trace that was ended properly.

  waitStatus @0 :Int32;
  # Of the first process, as waitpid(2) gives it.

  eventCount @1 :Int64;
  # Events are numbered 1 to this.

  endedAt @2 :Int64;
  # Nanoseconds since 1970-01-01T00:00:00Z. 0: not recorded.

  tasks @3 :List(TraceTask);
  # In the order in which they were made.

  files @4 :List(TraceFile);
  # By their numbers: the same as the trace's file records, in the same order.
}
