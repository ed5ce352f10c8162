# The replayer's own state: what a restored supervisor must agree on.
@0xe6154d41015ffe00;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("rrpcp::schema");

using SignalInfo = import "task.capnp".SignalInfo;
using Common = import "common.capnp";
using Rr = import "rr.capnp";

struct Session {
  statistics @0 :Statistics;
  nextTaskSerial @1 :UInt32;
  # Serial that the next task or thread group will get. 0: not recorded.
  lastContinuedTask @2 :Common.TaskId;
  # Task that a debugger last let run. Absent: none.
  lastSignal @3 :SignalInfo;
  # Signal that was last seen. Absent: none.
  where @4 :Data $Common.text;
  # Description of the place for people, as a debugger shows it.
  rr @5 :Rr.SessionState;
  # What rr keeps of a replay besides. Absent: another producer.
}

struct Statistics {
  bytesWritten @0 :UInt64;
  # Bytes written into tracees since the replay began.
  ticksProcessed @1 :Int64 $Common.notNegative;
  # Ticks of all tasks since the replay began.
  systemCallsPerformed @2 :UInt64;
}
