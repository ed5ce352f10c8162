# Generation rr-2025: one directory per checkpoint; the messages below the root are those of
# rr-2024.
@0xffdeb4299e5d00c3;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("rrpcp::legacy::rr2025");

using Common = import "rr_common.capnp";
using Older = import "rr_2024.capnp";

struct CheckpointInfo {
  cloneCompletion @0 :Older.CloneCompletionInfo;
  id @1 :UInt64;
  lastContinueTask @2 :Common.TaskName;
  where @3 :Data;
  nextSerial @4 :UInt32;
  union {
    nonExplicit :group {
      cloneMark @5 :Common.MarkData;
      checkpointMark @6 :Common.MarkData;
    }
    explicit @7 :Common.MarkData;
  }
  statistics :group {
    bytesWritten @8 :UInt64;
    ticksProcessed @9 :Int64;
    syscallsPerformed @10 :UInt32;
  }
}
