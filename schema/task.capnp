# Processes, threads and their register and signal state.
@0xf722c60fa2f24aaa;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("rrpcp::schema");

using Common = import "common.capnp";
using Rr = import "rr.capnp";

struct Process {
  # A thread group.
  pid @0 :Int32;
  # Thread-group id as the program sees it (the recorded one under a replayer), above 0.
  parentPid @1 :Int32 $Common.notNegative;
  # As the program sees it. 0: outside the checkpoint's world or not known.
  processGroup @2 :Int32 $Common.notNegative;
  # getpgid(2). 0: not known.
  sessionId @3 :Int32 $Common.notNegative;
  # getsid(2). 0: not known.
  serial @4 :UInt32;
  # Replayer's serial of the thread group: unique in a session, tids are not.
  personality @5 :UInt32;
  # personality(2).
  pendingSignals @6 :List(SignalInfo);
  # Pending for the whole process, in queue order.
  intervalTimers @7 :List(IntervalTimer);
  # getitimer(2): armed ones only, ordered by timer.
  resourceLimits @8 :List(ResourceLimit);
  # getrlimit(2), ordered by resource. Empty: not recorded.
  credentials @9 :Credentials;
  # Absent: not recorded.
  commandLine @10 :List(Data) $Common.text;
  # argv at capture (/proc/PID/cmdline). For people.
  noNewPrivileges @11 :Bool;
  # prctl(2) PR_GET_NO_NEW_PRIVS.
  notDumpable @12 :Bool;
  # prctl(2) PR_GET_DUMPABLE is 0.
  childSubreaper @13 :Bool;
  # prctl(2) PR_GET_CHILD_SUBREAPER.
  posixTimers @14 :List(PosixTimer);
  # timer_create(2), ordered by id.
  rr @15 :Rr.ThreadGroupState;
  # What rr keeps of a thread group besides. Absent: another producer.
}

struct IntervalTimer {
  timer @0 :UInt8;
  # 0 ITIMER_REAL, 1 ITIMER_VIRTUAL, 2 ITIMER_PROF.
  interval @1 :UInt64;
  # Microseconds between expirations; 0: one shot.
  value @2 :UInt64;
  # Microseconds until the next expiration.
}

struct PosixTimer {
  id @0 :Int32 $Common.notNegative;
  clock @1 :Int32;
  # clockid_t of clock_gettime(2).
  notify @2 :UInt32;
  # SIGEV_* of sigevent(7), SIGEV_THREAD_ID included.
  signal @3 :Int32;
  value @4 :UInt64;
  # sigev_value as 64 bits.
  tid @5 :Int32;
  # With SIGEV_THREAD_ID: the thread.
  interval @6 :UInt64;
  # Nanoseconds; 0: one shot.
  remaining @7 :UInt64;
  # Nanoseconds until the next expiration; 0: disarmed.
}

struct ResourceLimit {
  resource @0 :UInt32;
  # RLIMIT_* of getrlimit(2).
  soft @1 :UInt64;
  hard @2 :UInt64;
  # RLIM_INFINITY is 2^64-1.
}

struct Credentials {
  # credentials(7), capabilities(7); as /proc/PID/status shows them.
  realUid @0 :UInt32;
  effectiveUid @1 :UInt32;
  savedUid @2 :UInt32;
  realGid @3 :UInt32;
  effectiveGid @4 :UInt32;
  savedGid @5 :UInt32;
  groups @6 :List(UInt32);
  permittedCapabilities @7 :UInt64;
  effectiveCapabilities @8 :UInt64;
  inheritableCapabilities @9 :UInt64;
}

struct Task {
  # A thread.
  tid @0 :Int32;
  # As the program sees it (the recorded one under a replayer), above 0. The leader's tid is the
  # pid of its process.
  process @1 :UInt32;
  # Index into State.processes.
  addressSpace @2 :UInt32;
  # Index into State.addressSpaces.
  fileTable @3 :UInt32 = 0xffffffff;
  # Index into State.fileTables. noIndex: not recorded.
  fileSystemContext @4 :UInt32 = 0xffffffff;
  # Index into State.fileSystemContexts. noIndex: not recorded.
  signalHandlers @5 :UInt32 = 0xffffffff;
  # Index into State.signalHandlerTables. noIndex: not recorded.
  name @6 :Data $Common.text;
  # Thread name (prctl(2) PR_GET_NAME), at most 15 bytes, without NUL.
  registers @7 :List(RegisterSet);
  # Ordered by noteType, at most one of each. Required: NT_PRSTATUS (1).
  signalMask @8 :UInt64 = 0xffffffffffffffff;
  # Blocked signals: bit N-1 for signal N (sigprocmask(2)). 2^64-1: not recorded (a kernel blocks
  # neither SIGKILL nor SIGSTOP).
  pendingSignals @9 :List(SignalInfo);
  # Pending for this thread, in queue order.
  alternateStack @10 :AlternateStack;
  # sigaltstack(2). Absent: not recorded or disabled.
  robustListHead @11 :UInt64;
  # get_robust_list(2). 0: none.
  robustListLength @12 :UInt64;
  # Bytes of struct robust_list_head.
  clearChildTid @13 :UInt64;
  # Address that set_tid_address(2) or CLONE_CHILD_CLEARTID set. 0: none.
  rseq @14 :RestartableSequence;
  # rseq(2) registration. Absent: none.
  threadAreas @15 :List(ThreadArea);
  # x86: set_thread_area(2) entries in use, ordered by entryNumber.
  parentDeathSignal @16 :Int32;
  # prctl(2) PR_GET_PDEATHSIG. 0: none.
  serial @17 :UInt32;
  # Replayer's serial of the task: unique in a session.
  replay @18 :TaskReplayState;
  # What a replayer keeps of the task. Absent without one.
  savedSignalMask @19 :UInt64 = 0xffffffffffffffff;
  # Mask that sigsuspend-like calls restore on return. 2^64-1: none, or not known.
  rr @20 :Rr.TaskState;
  # What rr keeps of a task besides. Absent: another producer.
}

struct RegisterSet {
  noteType @0 :UInt32;
  # ELF core note type NT_* (elf.h): 1 NT_PRSTATUS, 2 NT_PRFPREG, 0x202 NT_X86_XSTATE,
  # 0x401 NT_ARM_TLS, …
  data @1 :Data;
  # Exactly what ptrace(2) PTRACE_GETREGSET gives for the type. For NT_PRSTATUS that is the general
  # registers alone (the pr_reg member of a core file's note).
}

struct AlternateStack {
  address @0 :UInt64;
  flags @1 :UInt32;
  # SS_* of sigaltstack(2); SS_DISABLE is 2.
  size @2 :UInt64;
  # Bytes.
}

struct RestartableSequence {
  address @0 :UInt64;
  # User address of struct rseq.
  length @1 :UInt32;
  # Bytes as registered. 0: not recorded (rr).
  signature @2 :UInt32;
  # Abort-handler signature as registered.
  flags @3 :UInt32;
}

struct ThreadArea {
  # set_thread_area(2), struct user_desc taken apart.
  entryNumber @0 :UInt32;
  baseAddress @1 :UInt32;
  limit @2 :UInt32;
  segment32Bit @3 :Bool;
  contents @4 :UInt8;
  # 0 to 3.
  readExecuteOnly @5 :Bool;
  limitInPages @6 :Bool;
  segmentNotPresent @7 :Bool;
  useable @8 :Bool;
  longMode @9 :Bool;
  reservedBits @10 :UInt32;
  # Bits 8 to 31 of the structure's flag word, which have no meaning; kept for exact export.
}

struct SignalHandlerTable {
  actions @0 :List(SignalAction);
  # Those that differ from the default (SIG_DFL, no flags, empty mask), ordered by signal.
}

struct SignalAction {
  # The kernel's struct sigaction of rt_sigaction(2).
  signal @0 :UInt8;
  # 1 to 64.
  handler @1 :UInt64;
  # Address; 0 SIG_DFL, 1 SIG_IGN.
  flags @2 :UInt64;
  # SA_*, SA_RESTORER included.
  mask @3 :UInt64;
  # Signals blocked meanwhile: bit N-1 for signal N.
  restorer @4 :UInt64;
  # Address; 0 where SA_RESTORER is not set.
}

struct SignalInfo {
  # siginfo_t (sigaction(2)), taken apart.
  signal @0 :Int32;
  error @1 :Int32;
  # si_errno.
  code @2 :Int32;
  # si_code.
  union {
    none @3 :Void;
    kill :group {             # kill(2), tkill(2)
      pid @4 :Int32;
      uid @5 :UInt32;
    }
    queue :group {            # sigqueue(3), mq_notify(3)
      pid @6 :Int32;
      uid @7 :UInt32;
      value @8 :UInt64;
    }
    timer :group {            # timer_create(2)
      id @9 :Int32;
      overrun @10 :Int32;
      value @11 :UInt64;
    }
    child :group {            # SIGCHLD
      pid @12 :Int32;
      uid @13 :UInt32;
      status @14 :Int32;
      userTime @15 :Int64;    # clock ticks
      systemTime @16 :Int64;  # clock ticks
    }
    fault :group {            # SIGILL, SIGFPE, SIGSEGV, SIGBUS, SIGTRAP
      address @17 :UInt64;
      addressLsb @18 :Int16;
      lower @19 :UInt64;
      upper @20 :UInt64;
      pkey @21 :UInt32;
    }
    poll :group {             # SIGIO
      band @22 :Int64;
      fd @23 :Int32;
    }
    systemCall :group {       # SIGSYS
      callAddress @24 :UInt64;
      number @25 :Int32;
      arch @26 :UInt32;       # AUDIT_ARCH_*
    }
  }
  raw @27 :Data;
  # The kernel's 128 bytes for the State's machine; present only where the fields above do not
  # reproduce them exactly. Where present it is what counts.
}

struct TaskReplayState {
  # What every replayer keeps of a task. All fields are recorded where the struct is present.
  ticks @0 :Int64 $Common.notNegative;
  # Ticks (retired conditional branches, or what the replayer counts) since the task began.
  ownNamespaceTid @1 :Int32 $Common.notNegative;
  # Tid in the task's own pid namespace. 0: not recorded.
  firstRunEvent @2 :Int64 $Common.notNegative;
  # Event at which the task first ran. 0: not known.
}
