# Messages that are the same in every generation of rr's persistent checkpoints.
# Field numbers and types are what those files have; spec/legacy-rr.md says what each means.
@0xd69bd681707dee4c;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("rrpcp::legacy");

struct RawBytes {
  # Register contents; empty where they were not recorded.
  raw @0 :Data;
}

enum Machine {
  x86 @0;
  x8664 @1;
  aarch64 @2;
}

struct TaskName {
  groupId @0 :Int32;
  groupSerial @1 :UInt32;
  taskId @2 :Int32;
  taskSerial @3 :UInt32;
}

struct FileMonitor {
  fd @0 :Int32;
  type @1 :Int32;
  union {
    mmap :group {
      dead @2 :Bool;
      device @3 :UInt64;
      inode @4 :UInt64;
    }
    procFd :group {
      tid @5 :Int32;
      serial @6 :UInt32;
    }
    procMem :group {
      tid @7 :Int32;
      serial @8 :UInt32;
      execCount @9 :UInt32;
    }
    stdio @10 :Int32;
    procStat @11 :Data;
    bpf :group {
      keySize @12 :UInt64;
      valueSize @13 :UInt64;
    }
  }
}

struct CapturedState {
  ticks @0 :Int64;
  regs @1 :RawBytes;
  extraRegs @2 :RawBytes;
  prname @3 :Data;
  fdtableIdentity @4 :UInt64;
  syscallbufChild @5 :UInt64;
  syscallbufSize @6 :UInt64;
  numSyscallbufBytes @7 :UInt64;
  preloadGlobals @8 :UInt64;
  scratchPtr @9 :UInt64;
  scratchSize @10 :UInt64;
  topOfStack @11 :UInt64;
  rseqState :group {
    ptr @12 :UInt64;
    abortPrefixSignature @13 :UInt32;
  }
  clonedFileDataOffset @14 :UInt64;
  threadLocals @15 :Data;
  recTid @16 :Int32;
  ownNamespaceRecTid @17 :Int32;
  serial @18 :UInt32;
  tguid :group {
    tid @19 :Int32;
    serial @20 :UInt32;
  }
  deschedFdChild @21 :Int32;
  clonedFileDataFdChild @22 :Int32;
  clonedFileDataFname @23 :Data;
  waitStatus @24 :Int32;
  tlsRegister @25 :UInt64;
  threadAreas @26 :List(Data);
}

struct CapturedMemory {
  startAddress @0 :UInt64;
  data @1 :Data;
}

struct MarkData {
  time @0 :Int64;
  ticks @1 :Int64;
  ticksAtEventStart @2 :Int64;
  stepKey @3 :Int32;
  regs @4 :RawBytes;
  returnAddresses @5 :List(UInt64);
  extraRegs @6 :RawBytes;
  singlestepToNextMarkNoSignal @7 :Bool;
  arch @8 :Machine;
  # Only rr-2025 has it; earlier marks are of the trace's machine.
}
