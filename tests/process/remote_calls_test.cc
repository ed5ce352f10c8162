// Stopping threads, system calls made on our behalf, and that nobody notices.

#include "process/child_process.h"
#include "process/proc_maps.h"
#include "process/proc_status.h"
#include "process/proc_tasks.h"
#include "process/remote_calls.h"
#include "process/remote_memory.h"
#include "process/return_gate.h"
#include "process/settled_stop.h"
#include "process/thread_group.h"
#include "process/tracee.h"
#include "rrpcp/error.h"
#include "support/syscall_fault.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <functional>
#include <gtest/gtest.h>
#include <linux/futex.h>
#include <sched.h>
#include <string>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <utility>

namespace rrpcp {
namespace {

using test::ChildProcess;

constexpr std::uintptr_t kOptions = PTRACE_O_TRACESYSGOOD;

// Waits until the (only) thread of `pid` sleeps in the kernel.
void wait_until_asleep(pid_t pid) {
  while (process::ProcStatus::read(pid, pid).state != 'S') {
    ::usleep(1000);
  }
}

// Sleeps 300 ms with nanosleep(2); 0: it was not disturbed.
int undisturbed_sleep() {
  timespec time{0, 300'000'000};
  ChildProcess::announce_ready();
  return ::syscall(SYS_nanosleep, &time, nullptr) == 0 ? 0 : errno;
}

void wait_until_stopped(pid_t pid) {
  while (process::ProcStatus::read(pid, pid).state != 'T') {
    ::usleep(1000);
  }
}

void stop_and_wait(pid_t pid) {
  ::kill(pid, SIGSTOP);
  wait_until_stopped(pid);
}

constexpr time_t kLong = 1000; // seconds

// Sleeps for longer than any test; returns if it is disturbed.
int long_sleep() {
  const timespec time{kLong, 0};
  ChildProcess::announce_ready();
  ::syscall(SYS_nanosleep, &time, nullptr);
  return errno;
}

// The number of the call in which the (only) thread of `pid` sleeps; nothing where it has ended.
std::optional<std::uint64_t> sleeps_in(pid_t pid) {
  for (;;) {
    const char state = process::ProcStatus::read(pid, pid).state;
    if (state == 'Z') {
      return std::nullopt;
    }
    if (state == 'S') {
      break;
    }
    ::usleep(1000);
  }
  process::Tracee tracee = process::Tracee::seize(pid, kOptions);
  tracee.stop();
  process::RemoteMemory memory(pid);
  process::settle_stop(tracee, memory);
  const std::uint64_t number = tracee.registers().orig_rax;
  tracee.detach();
  return number;
}

// The (only) thread of `pid` still is in that call, or is again, or will be when it has made itself
// as it was.
void expect_asleep_in(long number, pid_t pid, const std::string& what) {
  std::optional<std::uint64_t> now;
  for (int i = 0; i < 5000; ++i) {
    now = sleeps_in(pid);
    ASSERT_TRUE(now) << what << ": the call has ended";
    if (*now == static_cast<std::uint64_t>(number)) {
      return;
    }
    ::usleep(1000);
  }
  ADD_FAILURE() << what << ": the thread is in call " << *now;
}

void make_calls(pid_t pid, std::optional<std::uint64_t> instruction) {
  process::Tracee tracee = process::Tracee::seize(pid, kOptions);
  tracee.stop();
  user_regs_struct before = tracee.registers();
  {
    process::RemoteCalls calls(tracee, instruction);
    EXPECT_EQ(calls.call(SYS_getpid), pid);
    EXPECT_EQ(calls.call(SYS_close, -1), -EBADF);
    std::uint64_t address = calls.require("mapping", SYS_mmap, 0, 8192, PROT_READ | PROT_WRITE,
                                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    process::RemoteMemory memory(pid);
    memory.write(address, std::as_bytes(std::span("hello")));
    EXPECT_EQ(memory.read_value<char>(address + 1), 'e');
    EXPECT_EQ(calls.call(SYS_munmap, address, 8192), 0);
  }
  EXPECT_TRUE(tracee.last_stop().event_stop());
  user_regs_struct after = tracee.registers();
  EXPECT_EQ(std::memcmp(&before, &after, sizeof before), 0);
  tracee.detach();
}

TEST(RemoteCalls, SleepingProcessNoticesNothing) {
  ChildProcess child(undisturbed_sleep);
  wait_until_asleep(child.pid());
  auto instruction =
      process::find_syscall_instruction(child.pid(), process::read_mappings(child.pid()));
  ASSERT_TRUE(instruction);
  make_calls(child.pid(), instruction);
  make_calls(child.pid(), instruction);
  EXPECT_EQ(child.wait(), 0);
}

TEST(RemoteCalls, WithoutAnInstructionOneIsWrittenAndPutBack) {
  ChildProcess child(undisturbed_sleep);
  wait_until_asleep(child.pid());
  make_calls(child.pid(), std::nullopt);
  EXPECT_EQ(child.wait(), 0);
}

TEST(RemoteCalls, RunningProcessNoticesNothing) {
  ChildProcess child([] {
    ChildProcess::announce_ready();
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < 200'000'000; ++i) {
      sum += i ^ (sum << 1);
      asm volatile("" : "+r"(sum));
    }
    std::uint64_t again = 0;
    for (std::uint64_t i = 0; i < 200'000'000; ++i) {
      again += i ^ (again << 1);
      asm volatile("" : "+r"(again));
    }
    return sum == again ? 0 : 1;
  });
  auto instruction =
      process::find_syscall_instruction(child.pid(), process::read_mappings(child.pid()));
  for (int i = 0; i < 20; ++i) {
    make_calls(child.pid(), instruction);
  }
  EXPECT_EQ(child.wait(), 0);
}

volatile sig_atomic_t signals_seen = 0;

// A signal that arrives while calls are made waits, with its value, and is delivered afterwards.
TEST(RemoteCalls, SignalsWaitAndKeepTheirInformation) {
  ChildProcess child([] {
    struct sigaction action {};
    action.sa_flags = SA_SIGINFO;
    action.sa_sigaction = [](int, siginfo_t* info, void*) {
      signals_seen = signals_seen * 10 + info->si_value.sival_int;
    };
    ::sigaction(SIGRTMIN, &action, nullptr);
    ChildProcess::announce_ready();
    while (signals_seen < 123) {
      ::pause();
    }
    return signals_seen == 123 ? 0 : 1;
  });
  wait_until_asleep(child.pid());
  auto instruction =
      process::find_syscall_instruction(child.pid(), process::read_mappings(child.pid()));
  process::Tracee tracee = process::Tracee::seize(child.pid(), kOptions);
  tracee.stop();
  {
    process::RemoteCalls calls(tracee, instruction);
    for (int value = 1; value <= 3; ++value) {
      sigval argument{};
      argument.sival_int = value;
      ASSERT_EQ(::sigqueue(child.pid(), SIGRTMIN, argument), 0);
      EXPECT_EQ(calls.call(SYS_getpid), child.pid());
    }
    EXPECT_EQ(tracee.queued_signals(process::SignalQueue::kProcess).size(), 3u);
  }
  tracee.detach();
  EXPECT_EQ(child.wait(), 0);
}

TEST(RemoteCalls, StoppedProcessStaysStopped) {
  ChildProcess child([] {
    ChildProcess::announce_ready();
    ::raise(SIGSTOP);
    return 7;
  });
  int status = 0;
  ASSERT_EQ(::waitpid(child.pid(), &status, WUNTRACED), child.pid());
  make_calls(child.pid(),
             process::find_syscall_instruction(child.pid(), process::read_mappings(child.pid())));
  wait_until_stopped(child.pid());
  ::kill(child.pid(), SIGCONT);
  EXPECT_EQ(WEXITSTATUS(child.wait()), 7);
}

TEST(RemoteCalls, StopThatArrivesMeanwhileTakesEffect) {
  ChildProcess child(undisturbed_sleep);
  auto instruction =
      process::find_syscall_instruction(child.pid(), process::read_mappings(child.pid()));
  process::Tracee tracee = process::Tracee::seize(child.pid(), kOptions);
  tracee.stop();
  {
    process::RemoteCalls calls(tracee, instruction);
    ::kill(child.pid(), SIGSTOP);
    EXPECT_EQ(calls.call(SYS_getpid), child.pid());
    EXPECT_EQ(calls.call(SYS_getpid), child.pid());
  }
  tracee.detach();
  wait_until_stopped(child.pid());
  ::kill(child.pid(), SIGCONT);
  EXPECT_EQ(child.wait(), 0);
}

TEST(RemoteCalls, KilledProcessIsReported) {
  ChildProcess child(undisturbed_sleep);
  auto instruction =
      process::find_syscall_instruction(child.pid(), process::read_mappings(child.pid()));
  process::Tracee tracee = process::Tracee::seize(child.pid(), kOptions);
  tracee.stop();
  process::RemoteCalls calls(tracee, instruction);
  ::kill(child.pid(), SIGKILL);
  try {
    calls.call(SYS_getpid);
    FAIL() << "a dead process made a call";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kProcessGone) << error.what();
  }
}

// A second process that traces `pid`, runs `body` with a gate and dies without cleaning up.
void trace_and_die(pid_t pid, const std::function<void(process::RemoteCalls&)>& body) {
  ChildProcess tracer([&] {
    process::Tracee tracee = process::Tracee::seize(pid, kOptions | PTRACE_O_TRACECLONE);
    tracee.stop();
    std::optional<process::CallGate> gate =
        process::CallGate::open(pid, process::read_mappings(pid));
    if (!gate) {
      return 3;
    }
    while (gate->contains(tracee.registers())) {
      tracee.resume(PTRACE_CONT);
      tracee.stop();
    }
    process::RemoteCalls calls(tracee, *gate);
    body(calls);
    ::kill(::getpid(), SIGKILL);
    return 4;
  });
  EXPECT_EQ(tracer.wait(), SIGKILL);
}

// Counts in a loop that keeps its state in registers, and looks whether signals are still open.
int undisturbed_count() {
  ChildProcess::announce_ready();
  std::uint64_t sums[2] = {0, 0};
  for (std::uint64_t& total : sums) {
    std::uint64_t sum = 0;
    for (std::uint64_t i = 0; i < 300'000'000; ++i) {
      sum += i ^ (sum << 1);
      asm volatile("" : "+r"(sum));
    }
    total = sum;
  }
  sigset_t mask;
  ::sigprocmask(SIG_BLOCK, nullptr, &mask);
  return sums[0] == sums[1] && ::sigismember(&mask, SIGUSR1) == 0 ? 0 : 1;
}

TEST(CallGate, ThreadSurvivesTheDeathOfItsTracer) {
  for (auto program : {undisturbed_count, undisturbed_sleep}) {
    ChildProcess child(program);
    trace_and_die(child.pid(), [](process::RemoteCalls&) {});
    trace_and_die(child.pid(), [](process::RemoteCalls& calls) { calls.call(SYS_getppid); });
    trace_and_die(child.pid(), [](process::RemoteCalls& calls) {
      calls.call(SYS_getppid);
      calls.call(SYS_close, -1);
    });
    EXPECT_EQ(child.wait(), 0);
  }
}

TEST(CallGate, NewProcessDiesWithTheTracer) {
  ChildProcess child(undisturbed_count);
  trace_and_die(child.pid(), [](process::RemoteCalls& calls) {
    EXPECT_GT(calls.call(SYS_clone, CLONE_FILES, 0, 0, 0, 0), 0);
  });
  // It ended at once; the program, which knows nothing of it, never waits for it.
  std::vector<pid_t> children;
  for (int i = 0; i < 1000 && children.empty(); ++i) {
    children = process::read_children(child.pid());
  }
  for (pid_t copy : children) {
    while (process::ProcStatus::read(copy, copy).state != 'Z') {
      ::usleep(1000);
    }
  }
  EXPECT_EQ(child.wait(), 0);
}

// The same by way of the program's return from signal handlers. `prepare` is called in the stop.
void trace_and_die_by_return(pid_t pid, const std::function<void(process::RemoteCalls&)>& body,
                             const std::function<void(process::Tracee&)>& prepare = {}) {
  ChildProcess tracer([&] {
    process::Tracee tracee = process::Tracee::seize(pid, kOptions | PTRACE_O_TRACECLONE);
    tracee.stop();
    if (prepare) {
      prepare(tracee);
    }
    const std::vector<process::ProcMapping> mappings = process::read_mappings(pid);
    const std::optional<process::ReturnCode> code = process::ReturnCode::find(pid, mappings);
    if (!code) {
      return 3;
    }
    std::optional<process::ReturnGate> gate =
        process::ReturnGate::open(pid, mappings, *code, tracee.registers().rsp);
    if (!gate) {
      return 4;
    }
    gate->recover(tracee);
    process::RemoteCalls calls(tracee, *gate);
    body(calls);
    ::kill(::getpid(), SIGKILL);
    return 5;
  });
  EXPECT_EQ(tracer.wait(), SIGKILL);
}

TEST(ReturnGate, ThreadSurvivesTheDeathOfItsTracer) {
  for (auto program : {undisturbed_count, undisturbed_sleep}) {
    ChildProcess child(program);
    trace_and_die_by_return(child.pid(), [](process::RemoteCalls&) {});
    trace_and_die_by_return(child.pid(),
                            [](process::RemoteCalls& calls) { calls.call(SYS_getppid); });
    trace_and_die_by_return(child.pid(), [](process::RemoteCalls& calls) {
      calls.call(SYS_getppid);
      calls.call(SYS_close, -1);
    });
    EXPECT_EQ(child.wait(), 0);
  }
}

TEST(ReturnGate, ChildIsReapedByTheThreadItself) {
  ChildProcess child(undisturbed_count);
  trace_and_die_by_return(child.pid(), [](process::RemoteCalls& calls) {
    EXPECT_GT(calls.clone_child(CLONE_FILES), 0);
  });
  int left = 1;
  for (int i = 0; i < 5000 && left != 0; ++i) {
    left = static_cast<int>(process::read_children(child.pid()).size());
    ::usleep(1000);
  }
  EXPECT_EQ(left, 0);
  EXPECT_EQ(child.wait(), 0);
}

// The process does not run between the death of its tracer and the next one.
TEST(ReturnGate, ThreadOfAStoppedProcessIsMadeAsItWas) {
  ChildProcess child(undisturbed_count);
  stop_and_wait(child.pid());
  user_regs_struct before;
  {
    process::Tracee tracee = process::Tracee::seize(child.pid(), kOptions);
    tracee.stop();
    before = tracee.registers();
    tracee.detach();
  }
  trace_and_die_by_return(child.pid(),
                          [](process::RemoteCalls& calls) { calls.call(SYS_getppid); });
  wait_until_stopped(child.pid());
  process::Tracee tracee = process::Tracee::seize(child.pid(), kOptions);
  tracee.stop();
  const std::vector<process::ProcMapping> mappings = process::read_mappings(child.pid());
  std::optional<process::ReturnGate> gate = process::ReturnGate::open(
      child.pid(), mappings, *process::ReturnCode::find(child.pid(), mappings),
      tracee.registers().rsp);
  ASSERT_TRUE(gate);
  EXPECT_TRUE(gate->recover(tracee));
  const user_regs_struct after = tracee.registers();
  EXPECT_EQ(after.rip, before.rip);
  EXPECT_EQ(after.rsp, before.rsp);
  EXPECT_EQ(after.rax, before.rax);
  EXPECT_EQ(tracee.signal_mask() & (std::uint64_t{1} << (SIGUSR1 - 1)), 0u);
  gate->close();
  tracee.detach();
  ::kill(child.pid(), SIGCONT);
  EXPECT_EQ(child.wait(), 0);
}

// Nor can it wait for the child that it has made; nobody else knows of it, dead or not yet.
TEST(ReturnGate, ChildOfAStoppedProcessIsReapedByTheNextTracer) {
  ChildProcess child(undisturbed_count);
  stop_and_wait(child.pid());
  for (int i = 0; i < 5; ++i) {
    trace_and_die_by_return(child.pid(), [](process::RemoteCalls& calls) {
      EXPECT_GT(calls.clone_child(CLONE_FILES), 0);
    });
    wait_until_stopped(child.pid());
    process::Tracee tracee = process::Tracee::seize(child.pid(), kOptions | PTRACE_O_TRACECLONE);
    tracee.stop();
    const std::vector<process::ProcMapping> mappings = process::read_mappings(child.pid());
    std::optional<process::ReturnGate> gate = process::ReturnGate::open(
        child.pid(), mappings, *process::ReturnCode::find(child.pid(), mappings),
        tracee.registers().rsp);
    ASSERT_TRUE(gate);
    EXPECT_TRUE(process::recover_thread(tracee, *gate));
    EXPECT_EQ(process::read_children(child.pid()), std::vector<pid_t>());
    // What was waited for is nobody's any more.
    {
      process::RemoteCalls calls(tracee, *gate);
      const std::int64_t other = calls.clone_child(CLONE_FILES);
      EXPECT_GT(other, 0);
      process::Tracee copy = process::Tracee::adopt(*calls.take_new_thread(), false);
      copy.wait_stop();
      copy.detach();
      EXPECT_EQ(calls.wait_for_child(other), other);
      calls.finish();
    }
    EXPECT_EQ(process::read_children(child.pid()), std::vector<pid_t>());
    gate->close();
    tracee.detach();
  }
  ::kill(child.pid(), SIGCONT);
  EXPECT_EQ(child.wait(), 0);
}

// A gate of the kind that is used where the other cannot be.
TEST(CallGate, ThreadOfAStoppedProcessIsMadeAsItWas) {
  ChildProcess child(undisturbed_count);
  stop_and_wait(child.pid());
  trace_and_die(child.pid(), [](process::RemoteCalls& calls) { calls.call(SYS_getppid); });
  process::Tracee tracee = process::Tracee::seize(child.pid(), kOptions);
  tracee.stop();
  std::optional<process::CallGate> gate =
      process::CallGate::open(child.pid(), process::read_mappings(child.pid()));
  ASSERT_TRUE(gate);
  EXPECT_TRUE(gate->recover(tracee));
  EXPECT_FALSE(gate->contains(tracee.registers()));
  gate->close();
  tracee.detach();
  ::kill(child.pid(), SIGCONT);
  EXPECT_EQ(child.wait(), 0);
}

TEST(CallGate, LeavesNoBytesBehind) {
  ChildProcess child(undisturbed_sleep);
  std::vector<process::ProcMapping> mappings = process::read_mappings(child.pid());
  auto vdso =
      std::find_if(mappings.begin(), mappings.end(),
                   [](const process::ProcMapping& mapping) { return mapping.name == "[vdso]"; });
  ASSERT_NE(vdso, mappings.end());
  process::RemoteMemory memory(child.pid());
  std::vector<std::byte> before(vdso->length());
  std::vector<std::byte> after(vdso->length());
  memory.read(vdso->start, before);
  {
    process::Tracee tracee = process::Tracee::seize(child.pid(), kOptions);
    tracee.stop();
    std::optional<process::CallGate> gate = process::CallGate::open(child.pid(), mappings);
    ASSERT_TRUE(gate);
    process::RemoteCalls calls(tracee, *gate);
    EXPECT_EQ(calls.call(SYS_getpid), child.pid());
  }
  memory.read(vdso->start, after);
  EXPECT_EQ(before, after);
  EXPECT_EQ(child.wait(), 0);
}

// What a capture does first of all with a thread that it has stopped.
void settle(process::Tracee& tracee) {
  process::RemoteMemory memory(tracee.tid());
  process::settle_stop(tracee, memory);
}

void make_a_call(process::RemoteCalls& calls) {
  calls.call(SYS_getppid);
}

// A signal that stops the process has the kernel restart clone(2).
TEST(ReturnGate, ThreadSurvivesAStopInTheMiddleOfACall) {
  bool killed = true;
  for (std::uint64_t nth = 0; killed && !HasFailure(); ++nth) {
    ChildProcess child([] {
      ChildProcess::announce_ready();
      return ::pause();
    });
    wait_until_asleep(child.pid());
    std::uint64_t requests = 0;
    const test::FaultRun run = test::run_with_faults(
        [&] {
          process::Tracee tracee = process::Tracee::seize(child.pid(), kOptions);
          tracee.stop();
          settle(tracee);
          const std::vector<process::ProcMapping> mappings = process::read_mappings(child.pid());
          std::optional<process::ReturnGate> gate = process::ReturnGate::open(
              child.pid(), mappings, process::ReturnCode::find(child.pid(), mappings).value(),
              tracee.registers().rsp);
          process::RemoteCalls calls(tracee, gate.value());
          ::kill(child.pid(), SIGSTOP);
          const std::int64_t made = calls.clone_child(CLONE_FILES);
          const bool reaped = made > 0 && calls.wait_for_child(made) == made;
          calls.finish();
          tracee.detach();
          return reaped ? 0 : 1;
        },
        [&](const test::SyscallEntry& call) -> test::Fault {
          return call.number == SYS_ptrace && requests++ == nth ? test::Fault{test::Fault::kKill}
                                                                : test::Fault{};
        });
    killed = WIFSIGNALED(run.status);
    if (!killed) {
      EXPECT_EQ(run.status, 0);
    }
    ::kill(child.pid(), SIGCONT);
    expect_asleep_in(SYS_pause, child.pid(), "killed at its ptrace call " + std::to_string(nth));
  }
}

// Stops all threads of `pid`, lets the first make a call, and lets all go on.
void disturb(pid_t pid) {
  process::ThreadGroup group(pid);
  group.stop(kOptions);
  std::optional<process::CallGate> gate = process::CallGate::open(pid, process::read_mappings(pid));
  ASSERT_TRUE(gate);
  process::RemoteCalls calls(group.leader(), *gate);
  EXPECT_EQ(calls.call(SYS_getpid), pid);
}

TEST(SettledStop, EpollWaitIsNotInterrupted) {
  ChildProcess child([] {
    int epoll = ::epoll_create1(0);
    epoll_event event{};
    ChildProcess::announce_ready();
    int result = ::epoll_wait(epoll, &event, 1, 300);
    return result == 0 ? 0 : errno;
  });
  wait_until_asleep(child.pid());
  for (int i = 0; i < 5; ++i) {
    disturb(child.pid());
  }
  EXPECT_EQ(child.wait(), 0);
}

constexpr timeval kSocketTime{kLong, 0};

// A socket with a time-out; `full`: that takes no more.
int socket_with_time_out(bool full) {
  int ends[2];
  ::socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
  ::setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &kSocketTime, sizeof kSocketTime);
  const char bytes[4096] = {};
  while (full && ::send(ends[0], bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
  }
  ::setsockopt(ends[0], SOL_SOCKET, SO_SNDTIMEO, &kSocketTime, sizeof kSocketTime);
  return ends[0];
}

// Connects to a socket that has as many connections as it takes.
void connect_to_full() {
  const int listener = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{AF_UNIX, {}};
  socklen_t size = sizeof address;
  ::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address.sun_family);
  ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  ::listen(listener, 0);
  ::connect(::socket(AF_UNIX, SOCK_STREAM, 0), reinterpret_cast<sockaddr*>(&address), size);
  const int own = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ::setsockopt(own, SOL_SOCKET, SO_SNDTIMEO, &kSocketTime, sizeof kSocketTime);
  ::connect(own, reinterpret_cast<sockaddr*>(&address), size);
}

struct SleepingCall {
  const char* name;
  long number;
  void (*make)();
};

// A process in that call; it ends with errno if the call ends.
class ProcessInCall : public ChildProcess {
public:
  explicit ProcessInCall(const SleepingCall& call)
      : ChildProcess([&] {
          announce_ready();
          call.make();
          return errno;
        }) {
    wait_until_asleep(pid());
  }
};

// Calls that the kernel does not restart by itself.
TEST(SettledStop, CallsOnSocketsWithATimeOutAreNotInterrupted) {
  static char byte[2];
  static iovec parts[2] = {{byte, 1}, {byte + 1, 1}};
  const SleepingCall calls[] = {
      {"recv", SYS_recvfrom, [] { ::recv(socket_with_time_out(false), byte, 1, 0); }},
      {"read", SYS_read, [] { (void)!::read(socket_with_time_out(false), byte, 1); }},
      {"readv", SYS_readv, [] { (void)!::readv(socket_with_time_out(false), parts, 2); }},
      {"write", SYS_write, [] { (void)!::write(socket_with_time_out(true), byte, 1); }},
      {"writev", SYS_writev, [] { (void)!::writev(socket_with_time_out(true), parts, 2); }},
      {"sendmmsg", SYS_sendmmsg,
       [] {
         mmsghdr message{};
         message.msg_hdr.msg_iov = parts;
         message.msg_hdr.msg_iovlen = 2;
         ::sendmmsg(socket_with_time_out(true), &message, 1, 0);
       }},
      {"splice", SYS_splice,
       [] {
         int ends[2];
         if (::pipe(ends) == 0) {
           ::splice(socket_with_time_out(false), nullptr, ends[1], nullptr, 1, 0);
         }
       }},
      {"connect", SYS_connect, connect_to_full}};
  for (const SleepingCall& call : calls) {
    ProcessInCall child(call);
    for (int i = 0; i < 3; ++i) {
      disturb(child.pid());
      expect_asleep_in(call.number, child.pid(), call.name);
    }
  }
}

// What the kernel leaves of a call that it continues by a note is found again where our own death
// has taken the note away, also where nothing in front of the call tells its number.
TEST(SettledStop, ContinuedCallsAreEnteredAnew) {
  static const timespec time{kLong, 0};
  // A futex that could be a time.
  static std::uint64_t words[2] = {0, 5};
  const SleepingCall calls[] = {
      {"nanosleep", SYS_nanosleep, [] { ::syscall(SYS_nanosleep, &time, nullptr); }},
      {"clock_nanosleep", SYS_clock_nanosleep,
       [] { ::syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &time, nullptr); }},
      {"clock_nanosleep of the C library", SYS_clock_nanosleep,
       [] { ::clock_nanosleep(CLOCK_REALTIME, 0, &time, nullptr); }},
      {"poll", SYS_poll, [] { ::syscall(SYS_poll, nullptr, 0, 1'000'000); }},
      {"futex", SYS_futex, [] { ::syscall(SYS_futex, words, FUTEX_WAIT, 0, &time, nullptr, 0); }},
      {"futex with another value", SYS_futex, [] {
         words[0] = 7;
         ::syscall(SYS_futex, words, FUTEX_WAIT, 7, &time, nullptr, 0);
       }}};
  for (const SleepingCall& call : calls) {
    ProcessInCall child(call);
    for (int i = 0; i < 2; ++i) {
      disturb(child.pid());
      wait_until_asleep(child.pid());
      trace_and_die_by_return(child.pid(), make_a_call, settle);
      expect_asleep_in(call.number, child.pid(), call.name);
    }
  }
}

// A thread that the kernel has sent back to its call, and that has not entered it yet: on a busy
// machine a stop may find it so, on its way out of the kernel or in user space.
TEST(SettledStop, ContinuationThatHasNotBegunIsTakenBack) {
  for (const long original : {long{SYS_nanosleep}, long{SYS_restart_syscall}, -1L}) {
    ChildProcess child(long_sleep);
    wait_until_asleep(child.pid());
    const auto send_back = [&](process::Tracee& tracee) {
      user_regs_struct registers = tracee.registers();
      registers.rax = SYS_restart_syscall;
      registers.rip -= 2;
      registers.orig_rax = static_cast<std::uint64_t>(original);
      tracee.set_registers(registers);
      settle(tracee);
    };
    const std::string what = "as if entered by " + std::to_string(original);
    {
      process::Tracee tracee = process::Tracee::seize(child.pid(), kOptions);
      tracee.stop();
      send_back(tracee);
      EXPECT_EQ(tracee.registers().orig_rax, std::uint64_t{SYS_nanosleep}) << what;
      tracee.detach(); // and by its note it goes on
    }
    expect_asleep_in(SYS_nanosleep, child.pid(), what);
    trace_and_die_by_return(child.pid(), make_a_call, send_back);
    expect_asleep_in(SYS_nanosleep, child.pid(), what);
  }
}

// sigsuspend(2) with a pending signal that its own mask blocks and the program's does not.
TEST(SettledStop, MaskOfSigsuspendHolds) {
  ChildProcess child([] {
    struct sigaction action {};
    action.sa_handler = [](int signal) { signals_seen = signals_seen * 100 + signal; };
    ::sigaction(SIGUSR1, &action, nullptr);
    ::sigaction(SIGUSR2, &action, nullptr);
    sigset_t mask;
    ::sigemptyset(&mask);
    ::sigaddset(&mask, SIGUSR1);
    ChildProcess::announce_ready();
    ::sigsuspend(&mask);
    // SIGUSR2 ended the wait; SIGUSR1 was delivered when the mask was put back.
    return signals_seen == SIGUSR2 * 100 + SIGUSR1 || signals_seen == SIGUSR1 * 100 + SIGUSR2 ? 0
                                                                                              : 1;
  });
  wait_until_asleep(child.pid());
  ::kill(child.pid(), SIGUSR1);
  wait_until_asleep(child.pid());
  for (int i = 0; i < 3; ++i) {
    disturb(child.pid());
    wait_until_asleep(child.pid());
    EXPECT_EQ(process::ProcStatus::read(child.pid(), child.pid()).shared_pending,
              std::uint64_t{1} << (SIGUSR1 - 1));
  }
  ::kill(child.pid(), SIGUSR2);
  EXPECT_EQ(child.wait(), 0);
}

// The thread is left at the entry of its call, and calls can be made from there too.
TEST(SettledStop, CallsFromACallWithItsOwnMask) {
  ChildProcess child([] {
    struct sigaction action {};
    action.sa_handler = [](int signal) { signals_seen = signal; };
    ::sigaction(SIGUSR2, &action, nullptr);
    sigset_t mask;
    ::sigfillset(&mask);
    ::sigprocmask(SIG_SETMASK, &mask, nullptr);
    ::sigdelset(&mask, SIGUSR2);
    ChildProcess::announce_ready();
    return ::sigsuspend(&mask) == -1 && errno == EINTR && signals_seen == SIGUSR2 ? 0 : 1;
  });
  wait_until_asleep(child.pid());
  const std::vector<process::ProcMapping> mappings = process::read_mappings(child.pid());
  {
    process::Tracee tracee = process::Tracee::seize(child.pid(), kOptions);
    tracee.stop();
    for (bool with_gate : {true, false, true, true, false}) {
      std::optional<process::CallGate> gate;
      std::optional<process::RemoteCalls> calls;
      if (with_gate) {
        gate = process::CallGate::open(child.pid(), mappings);
        ASSERT_TRUE(gate);
        calls.emplace(tracee, *gate);
      } else {
        calls.emplace(tracee, process::find_syscall_instruction(child.pid(), mappings));
      }
      EXPECT_EQ(calls->call(SYS_getpid), child.pid());
      EXPECT_EQ(calls->call(SYS_close, -1), -EBADF);
      EXPECT_EQ(calls->call(SYS_getppid), ::getpid());
      calls->finish();
    }
    tracee.detach();
  }
  wait_until_asleep(child.pid());
  ::kill(child.pid(), SIGUSR2);
  EXPECT_EQ(child.wait(), 0);
}

TEST(Tracee, SaysWhyItCannotAttach) {
  auto code_of = [](pid_t pid) {
    try {
      process::Tracee::seize(pid, 0);
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::kInternal;
  };
  EXPECT_EQ(code_of(0x3fffff), ErrorCode::kNotFound);
  EXPECT_EQ(code_of(2), ErrorCode::kUnsupportedState); // kthreadd

  ChildProcess traced([] {
    ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    ChildProcess::announce_ready();
    for (;;) {
      ::pause();
    }
    return 0;
  });
  EXPECT_EQ(code_of(traced.pid()), ErrorCode::kAlreadyTraced);

  ChildProcess zombie([] { return 0; });
  while (process::ProcStatus::read(zombie.pid(), zombie.pid()).state != 'Z') {
    ::usleep(1000);
  }
  EXPECT_EQ(code_of(zombie.pid()), ErrorCode::kProcessGone);
}

TEST(Tracee, RegisterSetsAreReadAndWritten) {
  ChildProcess child(undisturbed_sleep);
  process::Tracee tracee = process::Tracee::seize(child.pid(), kOptions);
  tracee.stop();
  for (std::uint32_t type : {NT_PRSTATUS, NT_PRFPREG, NT_X86_XSTATE}) {
    std::optional<std::vector<std::byte>> set = tracee.register_set(type);
    ASSERT_TRUE(set) << type;
    tracee.set_register_set(type, *set);
    EXPECT_EQ(tracee.register_set(type), set);
  }
  EXPECT_FALSE(tracee.register_set(0x7fff));
  tracee.detach();
  EXPECT_EQ(child.wait(), 0);
}

} // namespace
} // namespace rrpcp
