# Messages of an rr trace, version 85: the header behind the version line, and the records of the
# streams "events", "tasks" and "mmaps". Fields that the project has no use for are named all the
# same, because a gap in the numbering is not allowed.
@0xeeb09e6fe902257a;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("rrpcp::legacy::trace");

using Common = import "rr_common.capnp";

enum TicksSemantics {
  retiredConditionalBranches @0;
  takenBranches @1;
}

enum TriState {
  unknown @0;
  knownTrue @1;
  knownFalse @2;
}

struct SystemName {
  # uname(2).
  sysname @0 :Data;
  nodename @1 :Data;
  release @2 :Data;
  version @3 :Data;
  machine @4 :Data;
  domainname @5 :Data;
}

struct Header {
  uuid @0 :Data;
  bindToCpu @1 :Int32;
  ticksSemantics @6 :TicksSemantics;
  syscallbufProtocolVersion @4 :UInt16;
  ok @7 :Bool = true;
  preloadThreadLocalsRecorded @8 :Bool;
  rrcallBase @9 :Int32 = 442;
  nativeArch @10 :Common.Machine = x8664;
  x86 :group {
    hasCpuidFaulting @2 :Bool;
    cpuidRecords @3 :Data;
    # Records of six 32-bit words: leaf, subleaf (all ones: none), eax, ebx, ecx, edx.
    xcr0 @5 :UInt64;
    xsaveFipFdpQuirk @12 :TriState;
    fdpExceptionOnlyQuirk @13 :TriState;
    clearFipFdp @14 :Bool;
  }
  quirks :group {
    explicitProcMem @11 :Bool = true;
    specialLibrrpage @15 :Bool = true;
    pkeyAllocRecordedExtraRegs @20 :Bool;
    bufferedSyscallForcedTick @21 :Bool;
    usesGlobalsInReplay @24 :Bool = true;
  }
  chaosMode @16 :TriState;
  exclusionRangeStart @17 :UInt64;
  exclusionRangeEnd @18 :UInt64;
  requiredForwardCompatibilityVersion @19 :Int32;
  runtimePageSize @22 :UInt32 = 4096;
  preloadLibraryPageSize @23 :UInt32 = 4096;
  syscallbufFdsDisabledSize @25 :UInt32 = 1024;
  syscallbufHdrSize @26 :UInt32 = 30;
  uname @27 :SystemName;
  maxVirtualAddressSize @28 :UInt8;
  cpuImproperlyConfigured @29 :TriState;
  aarch64 :group {
    hasPAuth @30 :Bool;
    hasTPIDR @31 :Bool;
  }
}

struct MMap {
  frameTime @0 :Int64;
  start @1 :UInt64;
  end @2 :UInt64;
  fsname @3 :Data;
  device @4 :UInt64;
  inode @5 :UInt64;
  prot @6 :Int32;
  flags @7 :Int32;
  fileOffsetBytes @8 :Int64;
  statMode @9 :UInt32;
  statUid @10 :UInt32;
  statGid @11 :UInt32;
  statSize @12 :Int64;
  statMTime @13 :Int64;
  source :union {
    zero @14 :Void;
    trace @15 :Void;
    file :group {
      backingFileName @16 :Data;
    }
  }
  extraFds @17 :List(RemoteFd);
  skipMonitoringMappedFd @18 :Bool;
}

struct RemoteFd {
  tid @0 :Int32;
  fd @1 :Int32;
}

struct TaskEvent {
  frameTime @0 :Int64;
  tid @1 :Int32;
  union {
    clone :group {
      parentTid @2 :Int32;
      flags @3 :Int32;
      ownNsTid @4 :Int32;
    }
    exec :group {
      fileName @5 :Data;
      cmdLine @6 :List(Data);
      exeBase @8 :UInt64;
      interpBase @10 :UInt64;
      interpName @11 :Data;
      pacData @12 :Common.RawBytes;
    }
    exit :group {
      exitStatus @7 :Int32;
    }
    detach :group {
      none @9 :Void;
    }
  }
}

struct MemWrite {
  tid @0 :Int32;
  addr @1 :UInt64;
  size @2 :UInt64;
  holes @3 :List(Hole);
  sizeIsConservative @4 :Bool;
}

struct Hole {
  offset @0 :UInt64;
  size @1 :UInt64;
}

enum SyscallState {
  enteringPtrace @0;
  entering @1;
  exiting @2;
}

struct Signal {
  siginfoArch @0 :Common.Machine;
  siginfo @1 :Data;
  deterministic @2 :Bool;
  disposition @3 :UInt16;
}

struct OpenedFd {
  fd @0 :Int32;
  path @1 :Data;
  device @2 :UInt64;
  inode @3 :UInt64;
}

struct MemRange {
  start @0 :UInt64;
  end @1 :UInt64;
}

struct Frame {
  tid @0 :Int32;
  ticks @1 :Int64;
  monotonicSec @2 :Float64;
  memWrites @3 :List(MemWrite);
  arch @4 :Common.Machine;
  registers @5 :Common.RawBytes;
  extraRegisters @6 :Common.RawBytes;
  inSyscallbufSyscallHook @30 :UInt64;
  event :union {
    instructionTrap @7 :Void;
    patchSyscall @8 :Void;
    syscallbufAbortCommit @9 :Void;
    syscallbufReset @10 :Void;
    sched @11 :Void;
    growMap @12 :Void;
    signal @13 :Signal;
    signalDelivery @14 :Signal;
    signalHandler @15 :Signal;
    exit @16 :Void;
    syscallbufFlush :group {
      mprotectRecords @17 :Data;
    }
    syscall :group {
      arch @18 :Common.Machine;
      number @19 :Int32;
      state @20 :SyscallState;
      failedDuringPreparation @21 :Bool;
      extra :union {
        none @22 :Void;
        writeOffset @23 :Int64;
        execFdsToClose @24 :List(Int32);
        openedFds @25 :List(OpenedFd);
        socketAddrs :group {
          localAddr @28 :Data;
          remoteAddr @29 :Data;
        }
        madviseRanges @32 :List(MemRange);
      }
    }
    patchAfterSyscall @26 :Void;
    patchVsyscall @27 :Void;
    patchTrappingInstruction @31 :Void;
  }
}
