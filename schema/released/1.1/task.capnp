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
  personality @5 :UInt32 = 0xffffffff;
  # personality(2), the same in all threads. 2^32-1: not recorded.
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
  notDumpable @11 :Bool;
  # prctl(2) PR_GET_DUMPABLE is 0.
  childSubreaper @12 :Bool;
  # prctl(2) PR_GET_CHILD_SUBREAPER.
  posixTimers @13 :List(PosixTimer);
  # timer_create(2), ordered by id.
  stopSignal @14 :Int32;
  # The signal that had stopped the process (SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU). 0: it ran.
  outOfMemoryAdjustment @15 :Int32;
  # /proc/PID/oom_score_adj, -1000 to 1000.
  semaphoreUndo @16 :List(SemaphoreUndo);
  # semop(2) with SEM_UNDO: what the kernel undoes at exit, ordered by (identifier, number).
  rr @17 :Rr.ThreadGroupState;
  # What rr keeps of a thread group besides. Absent: another producer.
}

struct SemaphoreUndo {
  identifier @0 :Int32;
  # semget(2), at capture.
  key @1 :Int32;
  # Key of the set; 0 is IPC_PRIVATE.
  number @2 :UInt32;
  # Of the semaphore in its set.
  adjustment @3 :Int32;
  # Is added to the semaphore's value.
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
  boundingCapabilities @10 :UInt64;
  ambientCapabilities @11 :UInt64;
  fileSystemUid @12 :UInt32;
  # setfsuid(2)
  fileSystemGid @13 :UInt32;
  # setfsgid(2)
  securebits @14 :UInt32;
  # SECBIT_* of prctl(2) PR_GET_SECUREBITS; PR_GET_KEEPCAPS is bit 4 of it.
  securityLabel @15 :Data $Common.text;
  # Label that the kernel's security module gave (/proc/PID/attr/current). Empty: none.
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
  credentials @20 :Credentials;
  # The thread's own, where they differ from its process's. Absent: those of the process.
  attributes @21 :TaskAttributes;
  # Absent: not recorded.
  namespaces @22 :UInt32 = 0xffffffff;
  # Index into State.namespaceSets. noIndex: not recorded.
  namespaceTids @23 :List(Int32) $Common.notNegative;
  # The thread's ids, from the producer's pid namespace down to the thread's own, where those
  # differ (/proc/PID/status NSpid). Empty: there is one id only.
  rr @24 :Rr.TaskState;
  # What rr keeps of a task besides. Absent: another producer.
}

struct TaskAttributes {
  # What the kernel keeps of each thread beside ids, registers and signals. Every field is recorded
  # where the struct is present.

  noNewPrivileges @0 :Bool;
  # prctl(2) PR_GET_NO_NEW_PRIVS.
  seccompMode @1 :UInt32;
  # seccomp(2): 0 none, 1 strict, 2 filters.
  seccompFilters @2 :List(SeccompFilter);
  # In the order in which they were installed. May be empty in mode 2: not recorded.
  systemCallDispatch @3 :SystemCallDispatch;
  # prctl(2) PR_SET_SYSCALL_USER_DISPATCH. Absent: off.
  timerSlack @4 :UInt64;
  # Nanoseconds; prctl(2) PR_GET_TIMERSLACK, /proc/PID/timerslack_ns.
  machineCheckPolicy @5 :UInt32 = 2;
  # PR_MCE_KILL_* of prctl(2) PR_MCE_KILL_GET: 0 late, 1 early, 2 the system's.
  ioFlusher @6 :Bool;
  # prctl(2) PR_GET_IO_FLUSHER.
  timestampsForbidden @7 :Bool;
  # x86: prctl(2) PR_GET_TSC is PR_TSC_SIGSEGV.
  cpuidForbidden @8 :Bool;
  # x86: arch_prctl(2) ARCH_GET_CPUID is 0.
  speculation @9 :List(SpeculationControl);
  # prctl(2) PR_GET_SPECULATION_CTRL, ordered by feature: those that the thread may and did change.
  scheduling @10 :Scheduling;
  # Absent: SCHED_OTHER with all fields 0.
  ioPriority @11 :UInt32;
  # ioprio_get(2): class in bits 13 and up. 0: none.
  processors @12 :Data;
  # sched_getaffinity(2): bit N%8 of byte N/8 for processor N, without zero bytes at the end.
  memoryPolicy @13 :MemoryPolicy;
  # get_mempolicy(2). Absent: the default.
  coreSchedulingCookie @14 :UInt64;
  # prctl(2) PR_SCHED_CORE_GET. 0: none.
  controlGroups @15 :Data $Common.text;
  # /proc/PID/cgroup. For people.
  landlocked @16 :Bool;
  # The thread is confined by landlock(7), as far as the producer could find out.
}

struct SeccompFilter {
  program @0 :Data;
  # struct sock_filter of 8 bytes each, as ptrace(2) PTRACE_SECCOMP_GET_FILTER gives them.
  flags @1 :UInt64;
  # SECCOMP_FILTER_FLAG_* (PTRACE_SECCOMP_GET_METADATA).
}

struct SystemCallDispatch {
  # ptrace(2) PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG.
  mode @0 :UInt64;
  # PR_SYS_DISPATCH_*.
  start @1 :UInt64;
  length @2 :UInt64;
  # Addresses whose calls are let pass.
  selector @3 :UInt64;
  # Address of the selector byte. 0: none.
}

struct SpeculationControl {
  feature @0 :UInt32;
  # PR_SPEC_* of prctl(2): 0 store bypass, 1 indirect branch, 2 L1D flush.
  state @1 :UInt32;
  # PR_SPEC_ENABLE, PR_SPEC_DISABLE, PR_SPEC_FORCE_DISABLE, PR_SPEC_DISABLE_NOEXEC.
}

struct Scheduling {
  # struct sched_attr of sched_getattr(2).
  policy @0 :UInt32;
  # SCHED_*.
  flags @1 :UInt64;
  # SCHED_FLAG_*.
  nice @2 :Int32;
  # -20 to 19.
  priority @3 :UInt32;
  # Of SCHED_FIFO and SCHED_RR, 1 to 99.
  runtime @4 :UInt64;
  deadline @5 :UInt64;
  period @6 :UInt64;
  # Nanoseconds.
  utilizationMinimum @7 :UInt32;
  utilizationMaximum @8 :UInt32;
}

struct MemoryPolicy {
  # set_mempolicy(2), mbind(2).
  mode @0 :UInt32;
  # MPOL_* with its MPOL_F_* mode flags.
  nodes @1 :Data;
  # Bit N%8 of byte N/8 for node N, without zero bytes at the end.
}

struct NamespaceSet {
  # namespaces(7) that a thread is in: /proc/PID/task/TID/ns. A member that is absent is not known.
  user @0 :Namespace;
  mount @1 :Namespace;
  pid @2 :Namespace;
  pidForChildren @3 :Namespace;
  time @4 :Namespace;
  timeForChildren @5 :Namespace;
  interProcess @6 :Namespace;
  # "ipc"
  network @7 :Namespace;
  # "net"
  hostName @8 :Namespace;
  # "uts"
  controlGroup @9 :Namespace;
  # "cgroup"
  uidMap @10 :List(IdRange);
  gidMap @11 :List(IdRange);
  # user_namespaces(7), as the producer's user namespace sees them. Empty: that namespace itself.
  monotonicOffset @12 :Int64;
  boottimeOffset @13 :Int64;
  # time_namespaces(7): nanoseconds that are added to the machine's clocks.
  nodeName @14 :Data $Common.text;
  domainName @15 :Data $Common.text;
  # uname(2), where `hostName` is not the producer's.
}

struct Namespace {
  device @0 :UInt64;
  inode @1 :UInt64;
  # st_dev and st_ino of the entry. They identify it until the machine is started anew.
  foreign @2 :Bool;
  # The program that made the checkpoint was not in it.
}

struct IdRange {
  # A line of /proc/PID/uid_map.
  inside @0 :UInt32;
  outside @1 :UInt32;
  count @2 :UInt32;
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
