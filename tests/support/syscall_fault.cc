#include "support/syscall_fault.h"

#include <cerrno>
#include <cstdlib>
#include <elf.h>
#include <map>
#include <signal.h>
#include <stdexcept>
#include <string>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

namespace rrpcp::test {

namespace {

#if !defined(__x86_64__)
#error "the fault injection of the tests knows the registers of x86-64 only"
#endif

struct Thread {
  bool in_call = false;
  int fail_with = 0;
};

[[noreturn]] void fail(const char* what) {
  throw std::runtime_error(std::string(what) + " failed: errno " + std::to_string(errno));
}

user_regs_struct registers(pid_t tid) {
  user_regs_struct regs;
  iovec vector{&regs, sizeof regs};
  if (::ptrace(PTRACE_GETREGSET, tid, NT_PRSTATUS, &vector) != 0) {
    fail("PTRACE_GETREGSET");
  }
  return regs;
}

void set_registers(pid_t tid, user_regs_struct& regs) {
  iovec vector{&regs, sizeof regs};
  if (::ptrace(PTRACE_SETREGSET, tid, NT_PRSTATUS, &vector) != 0) {
    fail("PTRACE_SETREGSET");
  }
}

#ifdef __SANITIZE_ADDRESS__
// A sanitizer finds out whether memory is there by writing it to a pipe, and must not be misled.
bool is_probe(pid_t tid, const user_regs_struct& regs) {
  const std::string path =
      "/proc/" + std::to_string(tid) + "/fd/" + std::to_string(static_cast<int>(regs.rdi));
  struct stat status;
  return regs.orig_rax == SYS_write && ::stat(path.c_str(), &status) == 0 &&
         S_ISFIFO(status.st_mode);
}
#else
bool is_probe(pid_t /*tid*/, const user_regs_struct& /*regs*/) {
  return false;
}
#endif

} // namespace

FaultRun run_with_faults(const std::function<int()>& work,
                         const std::function<Fault(const SyscallEntry&)>& decide) {
  pid_t child = ::fork();
  if (child < 0) {
    fail("fork");
  }
  if (child == 0) {
    ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    ::raise(SIGSTOP);
#ifdef __SANITIZE_ADDRESS__
    ::setenv("ASAN_OPTIONS", "detect_leaks=0", 1); // it traces, and we do already
#endif
    int status = 111;
    try {
      status = work();
    } catch (...) {
    }
    ::_exit(status);
  }

  FaultRun run;
  std::map<pid_t, Thread> threads;
  int status;
  if (::waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) {
    fail("waiting for the child");
  }
  constexpr long kOptions = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
  if (::ptrace(PTRACE_SETOPTIONS, child, 0, kOptions) != 0) {
    fail("PTRACE_SETOPTIONS");
  }
  ::ptrace(PTRACE_SYSCALL, child, 0, 0);
  for (;;) {
    pid_t tid = ::waitpid(-1, &status, __WALL);
    if (tid < 0) {
      fail("waitpid");
    }
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
      if (tid == child) {
        run.status = status;
        return run;
      }
      threads.erase(tid);
      continue;
    }
    const int signal = WSTOPSIG(status);
    long deliver = 0;
    if (signal == (SIGTRAP | 0x80)) {
      Thread& thread = threads[tid];
      thread.in_call = !thread.in_call;
      user_regs_struct regs = registers(tid);
      if (thread.in_call && !is_probe(tid, regs)) {
        SyscallEntry entry{run.calls++,
                           static_cast<long>(regs.orig_rax),
                           {regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9}};
        const Fault fault = decide(entry);
        if (fault.kind == Fault::kKill) {
          ::kill(child, SIGKILL);
          continue; // no resume: the kill ends the stop
        }
        if (fault.kind == Fault::kFail) {
          thread.fail_with = fault.error;
          regs.orig_rax = static_cast<unsigned long long>(-1);
          set_registers(tid, regs);
        } else if (fault.kind == Fault::kShortWrite && entry.number == SYS_write && regs.rdx > 1) {
          regs.rdx /= 2;
          set_registers(tid, regs);
        }
      } else if (!thread.in_call && thread.fail_with != 0) {
        regs.rax = static_cast<unsigned long long>(-thread.fail_with);
        thread.fail_with = 0;
        set_registers(tid, regs);
      }
    } else if (signal != SIGTRAP && signal != SIGSTOP) {
      deliver = signal;
    }
    if (::ptrace(PTRACE_SYSCALL, tid, 0, deliver) != 0 && errno != ESRCH) {
      fail("PTRACE_SYSCALL");
    }
  }
}

} // namespace rrpcp::test
