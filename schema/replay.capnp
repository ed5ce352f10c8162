# What the replay host pcp-rr knows of a replay besides what a State has fields for: the payload of
# the extension org.rrpcp.rr.replay (spec/pcp-rr.md).
@0xa3e3df00f35ade4f;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("rrpcp::schema");

using Common = import "common.capnp";

struct ReplayState {
  # Root of the payload, one message of one segment in canonical form. Ids are the recorded ones.

  tasks @0 :List(ReplayTask);
  # Those of State.tasks, in the order in which they were made.

  processes @1 :List(ReplayProcess);
  # In the order in which they were made; ones without a task that the replayer still knows too.

  objects @2 :List(ReplayObject);
  # What tasks have had mapped shared, ordered by number.

  lastTask @3 :Int32;
  # Task of the latest event. 0: none.

  ended @4 :Bool;
  # The first process has ended, while others go on.

  status @5 :Int32;
  # Its wait status, as waitpid(2) gives it. Means something with `ended`.
}

struct ReplayTask {
  tid @0 :Int32;

  inCall @1 :Bool;
  # The task stands at the entry of a system call whose end is an event of its own.

  lastEvent @2 :Int64;
  # Its latest event. 0: none.
}

struct ReplayProcess {
  pid @0 :Int32;

  parent @1 :Int32;
  # Process that made it. 0: the recorder.

  serial @2 :UInt32;
  # Unique in the replay.

  spaceEvent @3 :Int64;
  # Event that made its address space.

  sharesMemoryOf @4 :Int32;
  # Its memory is that of this process (vfork(2)). 0: its own.

  executable @5 :Data $Common.text;
  # Path of the program in the recording.
}

struct ReplayObject {
  # A file, memfd or System V segment that tasks have, or had, mapped shared.

  number @0 :UInt32;
  # Of the object in the recording.

  size @1 :UInt64;
  # Bytes.

  path @2 :Data $Common.text;
  # For people.

  memoryObject @3 :UInt32 = 0xffffffff;
  # Index in State.memoryObjects of what has its contents. noIndex: nobody has mapped it just now.

  contents @4 :List(ObjectBytes);
  # Of an object that nobody has mapped: its bytes, ordered by offset; zeros where there are none.
  # Of any: the bytes behind its end, from there on, which mappings show in its last page.
}

struct ObjectBytes {
  offset @0 :UInt64;
  bytes @1 :Data;
}
