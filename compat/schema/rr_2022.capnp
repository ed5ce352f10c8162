# Generation rr-2022: an index file, one file and one directory of page files per checkpoint.
@0x80c4795474d87673;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("rrpcp::legacy::rr2022");

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
      skipMonitoringMappedFd @8 :Bool;
      contentsPath @9 :Data;
    }
    guardSegment @10 :Void;
    sharedAnon :group {
      skipMonitoringMappedFd @11 :Bool;
      contentsPath @12 :Data;
      isSysVSegment @13 :Bool;
    }
    privateAnon :group {
      contentsPath @14 :Data;
    }
    syscallBuffer :group {
      contentsPath @15 :Data;
    }
    rrPage :group {
      contentsPath @16 :Data;
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
  lastContinueTuid :group {
    tid @2 :Int32;
    serial @3 :UInt32;
  }
  where @4 :Data;
  nextSerial @5 :UInt32;
  union {
    nonExplicit :group {
      cloneMark @6 :Common.MarkData;
      checkpointMark @7 :Common.MarkData;
    }
    explicit @8 :Common.MarkData;
  }
  statistics :group {
    bytesWritten @9 :UInt64;
    ticksProcessed @10 :Int64;
    syscallsPerformed @11 :UInt32;
  }
}

struct PersistentCheckpoints {
  checkpoints @0 :List(CheckpointInfo);
}
