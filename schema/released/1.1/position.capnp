# Where in a trace a checkpoint was taken, and how replay goes on from it.
@0xfd534f4730cf922a;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("rrpcp::schema");

using RegisterSet = import "task.capnp".RegisterSet;
using Common = import "common.capnp";
using Rr = import "rr.capnp";

struct Position {
  clone @0 :Mark $Common.required;
  # Where the stored state itself was taken.
  union {
    atEvent @1 :Void;
    # At an event boundary: the event of `clone` is current and not yet replayed.
    forwardTo @2 :Mark $Common.required;
    # The checkpoint's position is this mark: restore the clone, then replay forward to it.
    between :group {
      # The state was taken between two events: after clone.event began, before the next.
      order @3 :UInt32;
      # Rank among the checkpoints that one pass made inside this event; 0 is the first.
      instructions @4 :UInt64;
      # Instructions retired by the current task since the event. 0: not counted.
    }
  }
}

struct Mark {
  event @0 :Int64;
  # Number of the event (rr FrameTime), 0 or above.
  ticks @1 :Int64;
  # Ticks of the task at the mark.
  ticksAtEventStart @2 :Int64;
  # Ticks of the task when the event began.
  task @3 :Int32 $Common.notNegative;
  # Tid of the current task at the mark. 0: not recorded.
  registers @4 :List(RegisterSet);
  # Registers of the current task at the mark; empty where the tasks' own say all.
  machine @5 :UInt16;
  # ELF e_machine of `registers`. 0: the State's.
  rr @6 :Rr.MarkState;
  # What rr keeps of a mark besides. Absent: another producer.
}

struct TraceBinding {
  uuid @0 :Data;
  # 16 bytes: the trace's own identity.
  format @1 :Text;
  # Registered id of the trace format, as "org.rr-project.trace".
  formatVersion @2 :UInt32;
  # Version of the trace format (rr: 85).
  cursor @3 :List(StreamCursor);
  # Where replay goes on in each of the trace's streams, ordered by name. Empty: not computed.
}

struct StreamCursor {
  stream @0 :Text;
  # Name of the stream's file in the trace, as "events".
  blockOffset @1 :UInt64;
  # Byte offset in that file of the compressed block in which reading goes on.
  offsetInBlock @2 :UInt64;
  # Decoded bytes of the block to skip.
  decodedOffset @3 :UInt64;
  # Decoded bytes of the stream before this place.
}
