# What a recording of the replay host pcp-rr holds, event by event. spec/trace.md says where the
# messages lie in a trace directory and how each kind of event is recorded and replayed.
@0xd1c4491c7d3bc2d3;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("rrpcp::schema");

using Common = import "common.capnp";

struct Event {
  # Something that happened to a task of the recording. Its number is its place in the stream of
  # events, from 1. A task runs undisturbed from one of its events to the next.

  task @0 :Int32;
  # Thread id in the recording.

  time @1 :UInt64;
  # Nanoseconds from the start of the recording, by CLOCK_MONOTONIC. For people.

  registers @2 :Data;
  # General registers (NT_PRSTATUS) that the task had when it had run to this event, before the
  # event changed anything: what a replay compares. Empty: the task has not run since its event
  # before this one.

  registersAfter @3 :Data;
  # General registers (NT_PRSTATUS) after the event. Empty: those before, with `result` in the
  # register of results.

  result @4 :Int64;
  # What a finished system call returned: a negative errno for a failure.

  extendedRegisters @5 :Data;
  # NT_X86_XSTATE after the event. Empty: the event did not change it.

  signalMask @6 :UInt64;
  # Blocked signals after the event, bit N-1 for signal N. Counts only with changesSignalMask.
  changesSignalMask @7 :Bool;

  memory @8 :List(MemoryWrite);
  # Memory of the task that the event wrote, in this order.

  shared @9 :List(SharedWrite);
  # Contents of shared objects that the event wrote, in this order, before `memory`.

  mapping @10 :EventMapping;
  # What a finished mmap(2) or shmat(2) mapped, unless it was anonymous memory. Absent: nothing.

  output @11 :UInt8;
  # 1 or 2: the call wrote `outputRanges` to what the recorder itself had as that descriptor.
  # 0: it did not.
  outputRanges @12 :List(MemoryRange);
  # Where the bytes are in the task's memory.

  union {
    systemCall @13 :Void;
    # A system call, from its entry to its end. Its number is orig_rax of `registers`.
    systemCallBegun @14 :Void;
    # A system call was entered and did not end before another task ran, or never ends (exit(2)).
    systemCallFinished @15 :Void;
    # The end of one that was begun by systemCallBegun or newTask.
    exec :group {
      # execve(2) succeeded, whether it was begun before or not. All other tasks of the process are
      # gone; the task has the id of its process.
      image @16 :Text;
      # Checkpoint of the process before its first instruction, relative to the trace directory.
      executable @17 :Data $Common.text;
      # Path of the program.
      arguments @18 :List(Data) $Common.text;
      # argv.
      formerTask @19 :Int32;
      # Thread id that called execve(2), where another thread than the leader did. 0: the task.
    }
    newTask :group {
      # clone(2), fork(2) or vfork(2) made a task; the call itself is begun with this event.
      child @20 :Int32;
      # Its thread id.
      childProcess @21 :Int32;
      # Its process id; equal to `child` for a new process.
      flags @22 :UInt64;
      # CLONE_* of the call; for fork(2) and vfork(2) what they mean.
      childRegisters @23 :Data;
      # NT_PRSTATUS that the new task starts with.
      childMemory @24 :List(MemoryWrite);
      # Memory of the new task that the call wrote.
    }
    exit :group {
      # The task ended.
      status @25 :Int32;
      # As waitpid(2) gives it.
    }
    signal :group {
      # A signal handler was entered: registersAfter, extendedRegisters, signalMask and the frame
      # in `memory`. With the last two causes none was.
      info @26 :Data;
      # siginfo_t, 128 bytes.
      cause @27 :SignalCause;
    }
    trap @28 :TrappedInstruction;
    # An instruction that the recorder executes instead of the task.
    preemption @29 :Void;
    # The task was stopped at an arbitrary place. What it did since its event before this one is
    # not replayed but applied: registersAfter, extendedRegisters, `memory` and `shared` have all
    # that it may have changed. So is what a recorded tracer has changed of the task's registers
    # (ptrace(2)), and with signalMask of its mask, where the task stood still.
  }

  followed @30 :List(FollowedMapping);
  # Mappings of kept files that show the contents of a shared object from now on, as it is after
  # `shared`: the file was changed, or mapped so that it can be. Also mappings of small files that
  # were noted without EventMapping: they may be changed now, or show more of the file.

  inputs @31 :List(MemoryRange);
  # Memory that the call reads, as far as it can be read, when it is entered: with `registers` of
  # its entry. Empty: none.
  inputDigest @32 :UInt64;
  # XXH3-64 of the bytes of `inputs`, one range after the other.
  outputDigest @33 :UInt64;
  # XXH3-64 of the bytes of `outputRanges` in the same way. 0: not recorded.

  memoryDigests @34 :List(MemoryDigests);
  # Of all writable memory of the task after the event, in order of address, where a recorder was
  # asked for that. Empty: it was not, or not at this event.
}

struct MemoryWrite {
  # The bytes lie in the data that the stream holds for the event: first those of `shared`, then
  # those of `memory`, then those of newTask.childMemory, without gaps.
  address @0 :UInt64;
  length @1 :UInt64;
  # Bytes.
  task @2 :Int32;
  # A task of another process, whose memory it is. 0: the event's own task, or the new one.
}

struct MemoryDigests {
  # Of pages that follow each other.
  address @0 :UInt64;
  # Of the first page.
  digests @1 :Data;
  # XXH3-64 of each page of TraceStart.pageSize bytes, little-endian; 1 in place of 0. 0: the
  # page was not looked at, because a call that has not ended may change it at any time.
}

struct MemoryRange {
  address @0 :UInt64;
  length @1 :UInt64;
  # Bytes.
}

struct SharedWrite {
  # To an object that tasks have mapped shared: a file, a memfd or a System V segment.
  object @0 :UInt32;
  # Number of the object in the recording.
  size @1 :UInt64;
  # Bytes that the object has after the write.
  offset @2 :UInt64;
  # May lie behind `size`, in the page in which the object ends: what mappings show there.
  length @3 :UInt64;
  # Bytes, in the event's data.
  cleared @4 :UInt64;
  # Bytes from `offset` that are a hole of the file, before anything is written. `length` is 0 then.
}

struct FollowedMapping {
  # A private mapping, or a piece of one. Pages that the program has written to stay as they are, up
  # to the end of the object; of what a replay has as anonymous memory there are none.
  task @0 :Int32;
  # A task of the process.
  address @1 :UInt64;
  length @2 :UInt64;
  # Bytes.
  object @3 :UInt32;
  offset @4 :UInt64;
  # Bytes, in the object.
}

struct EventMapping {
  union {
    file @0 :Text;
    # A private mapping of this file of the trace, relative to the trace directory.
    object @1 :UInt32;
    # A mapping of the object of this number, which begins to exist with its first mapping: a shared
    # one, or a private one of a file that is an object already.
  }
  offset @2 :UInt64;
  # Bytes.
  length @3 :UInt64;
  # Bytes that were mapped, a multiple of the page size.
  path @4 :Data $Common.text;
  # What was mapped, as /proc/PID/maps named it. For people.
  readOnly @5 :Bool;
  # Of a shared mapping: the descriptor could not write, so that the mapping can never be made
  # writable.
}

enum SignalCause {
  asynchronous @0;
  # Delivered where the task stands, or, with `registers`, at the entry of a system call that is
  # made anew once the handler has returned.
  fault @1;
  # The task's own instruction raised it: with `registers` of that instruction.
  reported @2;
  # The same, but a recorded task that traces this one was told of it, and no handler was entered:
  # the task stands at `registers`, which registersAfter repeats.
  stepped @3;
  # As reported, after the task has executed one instruction from its event before this one, as a
  # recorded tracer wanted it (PTRACE_SINGLESTEP).
}

enum TrappedInstruction {
  rdtsc @0;
  rdtscp @1;
  cpuid @2;
  rdrand @3;
  rdseed @4;
  xgetbv @5;
  rdpid @6;
  xsave @7;
  xsaveopt @8;
  xsavec @9;
}
