#include "rrpcp/replay/host_abilities.h"

#include "base/page.h"
#include "base/scoped_fd.h"
#include "process/page_scan.h"
#include "replay/buffer/call_filter.h"
#include "replay/engine/host_trials.h"
#include "replay/engine/instruction_traps.h"
#include "replay/engine/trial_process.h"
#include "rrpcp/error.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <string>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <unistd.h>

namespace rrpcp::replay {

namespace {

// Where the trial of a breakpoint passes.
__attribute__((noinline)) void landmark() {
  asm volatile("");
}

// A child that waits under our ptrace, and then does as it is let.
class TracedTrial {
public:
  template <typename Attempt>
  explicit TracedTrial(const Attempt& attempt)
      : process_([&attempt] {
          if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) {
            return kTrialRefused;
          }
          ::syscall(SYS_tkill, ::syscall(SYS_gettid), SIGSTOP);
          return attempt();
        }) {
    const int status = process_.wait();
    stopped_ = status >= 0 && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP &&
               request(PTRACE_SETOPTIONS, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
  }

  bool stopped() const { return stopped_; }
  pid_t pid() const { return process_.pid(); }
  bool request(int what, std::uintptr_t data, std::uintptr_t address = 0) const {
    return ::ptrace(static_cast<__ptrace_request>(what), process_.pid(), address, data) == 0;
  }
  // Resumes, and returns the signal of the next stop; 0 where there is none.
  int go(int what) {
    const int status = request(what, 0) ? process_.wait() : -1;
    return status >= 0 && WIFSTOPPED(status) ? WSTOPSIG(status) : 0;
  }
  int result(int what) { return request(what, 0) ? process_.result() : -1; }

private:
  TrialProcess process_;
  bool stopped_ = false;
};

int pass() {
  return kTrialPassed;
}

} // namespace

bool can_trace() {
  return TracedTrial(pass).stopped();
}

// A call that is skipped: the child does not exit by it.
bool can_skip_calls() {
  TracedTrial trial([] {
    ::syscall(SYS_exit_group, kTrialRefused);
    return kTrialPassed;
  });
  constexpr int kCallStop = SIGTRAP | 0x80;
  if (!trial.stopped() || trial.go(PTRACE_SYSEMU) != kCallStop) {
    return false;
  }
  return trial.result(PTRACE_CONT) == kTrialPassed;
}

bool can_step() {
  TracedTrial trial(pass);
  user_regs_struct before{};
  user_regs_struct after{};
  const auto address = [](user_regs_struct& registers) {
    return reinterpret_cast<std::uintptr_t>(&registers);
  };
  return trial.stopped() && trial.request(PTRACE_GETREGS, address(before)) &&
         trial.go(PTRACE_SINGLESTEP) == SIGTRAP && trial.request(PTRACE_GETREGS, address(after)) &&
         before.rip != after.rip;
}

bool breakpoints_fire() {
  TracedTrial trial([] {
    landmark();
    return kTrialPassed;
  });
  constexpr std::uintptr_t kExecuteAtFirst = 1; // of DR7: breakpoint 0, for this task, to execute
  return trial.stopped() &&
         trial.request(PTRACE_POKEUSER, reinterpret_cast<std::uintptr_t>(&landmark),
                       offsetof(struct user, u_debugreg[0])) &&
         trial.request(PTRACE_POKEUSER, kExecuteAtFirst, offsetof(struct user, u_debugreg[7])) &&
         trial.go(PTRACE_CONT) == SIGTRAP;
}

// Whether code that the program may not write can be changed, in the traced process alone.
bool can_change_code() {
  void* page = ::mmap(nullptr, kPage, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) {
    return false;
  }
  bool changed = false;
  {
    const TracedTrial trial(pass);
    char path[64];
    std::snprintf(path, sizeof path, "/proc/%d/mem", trial.pid());
    const ScopedFd memory(trial.stopped() ? ::open(path, O_RDWR | O_CLOEXEC) : -1);
    const char written = 1;
    char read = 0;
    const auto place = static_cast<off_t>(reinterpret_cast<std::uintptr_t>(page));
    changed = memory && ::pwrite(memory.get(), &written, 1, place) == 1 &&
              ::pread(memory.get(), &read, 1, place) == 1 && read == written &&
              *static_cast<const volatile char*>(page) == 0;
  }
  ::munmap(page, kPage);
  return changed;
}

bool can_choose_ids() {
  struct Arguments { // struct clone_args of clone3(2)
    std::uint64_t flags = 0, pidfd = 0, child_tid = 0, parent_tid = 0, exit_signal = 0, stack = 0,
                  stack_size = 0, tls = 0, set_tid = 0, set_tid_size = 1, cgroup = 0;
  } arguments;
  // An id is in use perhaps: another one then.
  for (pid_t wanted = 32000; wanted > 31900; --wanted) {
    arguments.set_tid = reinterpret_cast<std::uintptr_t>(&wanted);
    const long child = ::syscall(SYS_clone3, &arguments, sizeof arguments);
    if (child == 0) {
      ::_exit(0);
    }
    if (child > 0) {
      while (::waitpid(static_cast<pid_t>(child), nullptr, __WALL) < 0 && errno == EINTR) {
      }
      return child == wanted;
    }
    if (errno != EEXIST) {
      return false;
    }
  }
  return false;
}

bool can_scan_pages() {
  return process::PageScanner(::getpid()).has_ioctl();
}

bool can_compare_objects() {
  return ::syscall(SYS_kcmp, ::getpid(), ::getpid(), KCMP_FILES, 0, 0) == 0;
}

bool can_open_mapped_files() {
  ScopedFd file(::memfd_create("trial", MFD_CLOEXEC));
  if (!file || ::ftruncate(file.get(), 1) != 0) {
    return false;
  }
  void* page = ::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, file.get(), 0);
  if (page == MAP_FAILED) {
    return false;
  }
  char path[96];
  const auto start = reinterpret_cast<std::uintptr_t>(page);
  std::snprintf(path, sizeof path, "/proc/self/map_files/%lx-%lx", start, start + kPage);
  const ScopedFd opened(::open(path, O_RDONLY | O_CLOEXEC));
  ::munmap(page, kPage);
  return static_cast<bool>(opened);
}

bool can_suspend_filters() {
  const TracedTrial trial(pass);
  return trial.stopped() &&
         trial.request(PTRACE_SETOPTIONS, PTRACE_O_EXITKILL | PTRACE_O_SUSPEND_SECCOMP);
}

// Whether a filter tells the tracer of calls, and there is none before it.
bool can_filter_calls() {
  TracedTrial trial([] {
    if (!buffer::install_call_filter()) {
      return kTrialRefused;
    }
    ::syscall(SYS_getppid);
    return kTrialPassed;
  });
  return trial.stopped() &&
         trial.request(PTRACE_SETOPTIONS, PTRACE_O_EXITKILL | PTRACE_O_TRACESECCOMP) &&
         trial.go(PTRACE_CONT) == SIGTRAP;
}

Error tracing_refused() {
  return Error(ErrorCode::kPermission, "this system does not let a process trace its own child")
      .with_hint("in a container allow the system call ptrace(2), as --cap-add=SYS_PTRACE or "
                 "another profile of seccomp(2) does");
}

void require_tracing() {
  if (can_skip_calls()) {
    return;
  }
  if (!can_trace()) {
    throw tracing_refused();
  }
  throw Error(ErrorCode::kUnsupportedState,
              "this kernel cannot skip the system calls of a traced process (PTRACE_SYSEMU)")
      .with_hint("replay the trace under a Linux kernel; 'pcp-rr doctor' shows what this has");
}

} // namespace rrpcp::replay

namespace rrpcp {

std::vector<HostAbility> examine_host() {
  using namespace replay;
  const InstructionTraps traps = processor_traps();
  constexpr bool kNeeded = true;
  return {
      {"ptrace", "tracing a child (ptrace(2))", can_trace(), kNeeded, kNeeded,
       "allow ptrace(2): in a container with --cap-add=SYS_PTRACE or another seccomp profile"},
      {"sysemu", "skipping system calls (PTRACE_SYSEMU)", can_skip_calls(), false, kNeeded,
       "replay under a Linux kernel of its own"},
      {"single-step", "executing one instruction (PTRACE_SINGLESTEP)", can_step(), kNeeded, kNeeded,
       "use another virtual machine: signals are delivered by it"},
      {"change-code", "changing code of a traced process (/proc/PID/mem)", can_change_code(),
       kNeeded, kNeeded, "boot with proc_mem.force_override=ptrace"},
      {"rdtsc-trap", "the processor traps RDTSC and RDTSCP (PR_SET_TSC)", traps.counter, false,
       false, "the instructions are replaced in the program's code"},
      {"cpuid-trap", "the processor traps CPUID (ARCH_SET_CPUID)", traps.cpuid, false, false,
       "the instruction is replaced in the program's code"},
      {"breakpoints", "hardware breakpoints fire (debug registers)", breakpoints_fire(), false,
       false, "single steps"},
      {"page-scan", "finding touched pages (PAGEMAP_SCAN, Linux 6.7)", can_scan_pages(), false,
       false, "/proc/PID/pagemap, which takes longer"},
      {"set-tid", "choosing ids of processes (clone3(2) with set_tid)", can_choose_ids(), false,
       false, "pcp-restore gives new ids; to keep them: root, or CAP_CHECKPOINT_RESTORE"},
      {"kcmp", "telling whether descriptors are the same (kcmp(2))", can_compare_objects(), false,
       false, "output is not shown at replay: allow kcmp(2), as for ptrace(2)"},
      {"map-files", "opening mapped files (/proc/PID/map_files)", can_open_mapped_files(), false,
       false, "files are opened by their paths; else root, or CAP_CHECKPOINT_RESTORE"},
      {"suspend-seccomp", "suspending filters (PTRACE_O_SUSPEND_SECCOMP)", can_suspend_filters(),
       false, false, "programs that confine themselves and execute others need CAP_SYS_ADMIN"},
      {"buffered-calls", "recording calls without a stop (seccomp(2))", can_filter_calls(), false,
       false, "every call stops, which takes longer: record where no filter of seccomp(2) is"},
  };
}

} // namespace rrpcp
