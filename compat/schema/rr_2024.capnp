# Generation rr-2024: files as in rr-2022, other field numbers.
@0xdadefe1ae0e993d6;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("rrpcp::legacy::rr2024");

using Common = import "rr_common.capnp";

struct KernelMapping {
  start @0 :UInt64;
  end @1 :UInt64;
  fsname @2 :Data;
  device @3 :UInt64;
  inode @4 :UInt64;
  protection @5 :Int32;
  flags @6 :Int32;
  offset @7 :UInt64;
  mapType :union {
    file :group {
      contentsPath @8 :Data;
    }
    guardSegment @9 :Void;
    sharedAnon :group {
      contentsPath @10 :Data;
      isSysVSegment @11 :Bool;
    }
    privateAnon :group {
      contentsPath @12 :Data;
    }
    syscallBuffer :group {
      contentsPath @13 :Data;
    }
    rrPage :group {
      contentsPath @14 :Data;
    }
  }
}

struct ProcessSpace {
  virtualAddressSpace @0 :List(KernelMapping);
  breakpointFaultAddress @1 :UInt64;
  exe @2 :Data;
  originalExe @3 :Data;
  monitors @4 :List(Common.FileMonitor);
  taskFirstRunEvent @5 :Int64;
  vmFirstRunEvent @6 :Int64;
}

struct AddressSpaceClone {
  processSpace @0 :ProcessSpace;
  cloneLeaderState @1 :Common.CapturedState;
  memberState @2 :List(Common.CapturedState);
  capturedMemory @3 :List(Common.CapturedMemory);
  auxv @4 :Data;
  arch @5 :Common.Machine;
  # Only rr-2025 writes it; in rr-2024 every space is of the trace's machine.
}

struct CloneCompletionInfo {
  addressSpaces @0 :List(AddressSpaceClone);
  sessionCurrentStep @1 :Data;
  lastSigInfo @2 :Data;
  usesSyscallBuffering @3 :Bool;
}

struct CheckpointInfo {
  cloneCompletionFile @0 :Data;
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

struct PersistentCheckpoints {
  checkpoints @0 :List(CheckpointInfo);
}
