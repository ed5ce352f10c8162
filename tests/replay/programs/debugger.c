// A small debugger: sets a breakpoint in its child, steps it, reads and changes its registers and
// memory, has it make another system call, and gives it signals and takes them away.
#define _GNU_SOURCE
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile long value = 3;
static volatile int handled;

static void require(int good, const char* what) {
  if (!good) {
    printf("FAILED: %s (%s)\n", what, strerror(errno));
    exit(1);
  }
}

static void on_signal(int signal) {
  handled += signal;
}

__attribute__((noinline)) static long twice(long number) {
  __asm__ volatile("" : "+r"(number));
  return number * 2;
}

__attribute__((noinline)) static double half(double number) {
  __asm__ volatile("" : "+x"(number));
  return number / 2;
}

static int child(void) {
  require(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0, "PTRACE_TRACEME");
  require(ptrace(PTRACE_TRACEME, 0, 0, 0) == -1 && errno == EPERM, "PTRACE_TRACEME twice");
  signal(SIGUSR1, on_signal);
  signal(SIGUSR2, on_signal);
  raise(SIGSTOP);
  long sum = 0;
  for (int i = 0; i < 3; ++i) {
    sum += twice(value + i);
  }
  printf("child: sum %ld, half %.2f\n", sum, half(5));
  fflush(stdout);
  raise(SIGUSR1); // is taken away
  raise(SIGUSR2); // is delivered
  printf("child: handled %d\n", handled);
  fflush(stdout);
  const long result = syscall(SYS_getppid, 1, 2, 3);
  printf("child: %ld\n", result);
  fflush(stdout);
  __asm__ volatile("int3");
  volatile int* const nowhere = NULL;
  return *nowhere;
}

static int wait_for(pid_t pid, const char* what) {
  int status = 0;
  require(waitpid(pid, &status, 0) == pid, what);
  return status;
}

static void expect_stop(pid_t pid, int signal, const char* what) {
  const int status = wait_for(pid, what);
  if (status != (signal << 8 | 0x7f)) {
    printf("FAILED: %s: status %x\n", what, (unsigned)status);
    exit(1);
  }
}

static struct user_regs_struct registers_of(pid_t pid) {
  struct user_regs_struct registers;
  require(ptrace(PTRACE_GETREGS, pid, 0, &registers) == 0, "PTRACE_GETREGS");
  return registers;
}

static void set_registers(pid_t pid, const struct user_regs_struct* registers) {
  require(ptrace(PTRACE_SETREGS, pid, 0, registers) == 0, "PTRACE_SETREGS");
}

static void resume(pid_t pid, int request, int signal) {
  require(ptrace(request, pid, 0, (void*)(long)signal) == 0, "resuming");
}

static long peek(pid_t pid, volatile void* address) {
  errno = 0;
  const long word = ptrace(PTRACE_PEEKDATA, pid, address, 0);
  require(errno == 0, "PTRACE_PEEKDATA");
  return word;
}

static void poke(pid_t pid, volatile void* address, long word) {
  require(ptrace(PTRACE_POKEDATA, pid, address, word) == 0, "PTRACE_POKEDATA");
}

int main(void) {
  setvbuf(stdout, NULL, _IONBF, 0);
  const pid_t pid = fork();
  if (pid == 0) {
    _exit(child());
  }
  expect_stop(pid, SIGSTOP, "the child stops itself");
  require(ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) == 0,
          "PTRACE_SETOPTIONS");
  require(ptrace(PTRACE_SETOPTIONS, pid, 0, 1 << 30) == -1 && errno == EINVAL, "other options");
  errno = 0;
  require(ptrace(PTRACE_PEEKDATA, pid, (void*)8, 0) == -1 && errno == EIO,
          "memory that is not there");
  printf("value %ld\n", peek(pid, &value));
  poke(pid, &value, 20);

  // A breakpoint, which the child passes three times.
  const long code = peek(pid, (void*)twice);
  poke(pid, (void*)twice, (code & ~0xffL) | 0xcc);
  for (int i = 0; i < 3; ++i) {
    resume(pid, PTRACE_CONT, 0);
    expect_stop(pid, SIGTRAP, "the breakpoint");
    struct user_regs_struct registers = registers_of(pid);
    require(registers.rip == (uintptr_t)twice + 1, "where the breakpoint is");
    siginfo_t info;
    require(ptrace(PTRACE_GETSIGINFO, pid, 0, &info) == 0, "PTRACE_GETSIGINFO");
    printf("breakpoint with %lld, code %x\n", registers.rdi, (unsigned)info.si_code);
    registers.rip = (uintptr_t)twice;
    registers.rdi += 100;
    set_registers(pid, &registers);
    poke(pid, (void*)twice, code);
    resume(pid, PTRACE_SINGLESTEP, 0);
    expect_stop(pid, SIGTRAP, "a step");
    require(ptrace(PTRACE_GETSIGINFO, pid, 0, &info) == 0, "PTRACE_GETSIGINFO");
    printf("stepped, code %d, moved %d\n", info.si_code, registers_of(pid).rip != registers.rip);
    poke(pid, (void*)twice, (code & ~0xffL) | 0xcc);
  }
  poke(pid, (void*)twice, code);

  // The floating-point registers, at another breakpoint.
  const long other = peek(pid, (void*)half);
  poke(pid, (void*)half, (other & ~0xffL) | 0xcc);
  resume(pid, PTRACE_CONT, 0);
  expect_stop(pid, SIGTRAP, "the second breakpoint");
  poke(pid, (void*)half, other);
  struct user_fpregs_struct floating;
  require(ptrace(PTRACE_GETFPREGS, pid, 0, &floating) == 0, "PTRACE_GETFPREGS");
  double number = 0;
  memcpy(&number, floating.xmm_space, sizeof number);
  printf("half of %.2f\n", number);
  number = 9;
  memcpy(floating.xmm_space, &number, sizeof number);
  require(ptrace(PTRACE_SETFPREGS, pid, 0, &floating) == 0, "PTRACE_SETFPREGS");
  require(ptrace(PTRACE_POKEUSER, pid, offsetof(struct user, regs.rip), half) == 0,
          "PTRACE_POKEUSER");
  require(ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user, regs.rip), 0) == (long)half,
          "PTRACE_PEEKUSER");
  unsigned char area[8192];
  struct iovec set = {area, sizeof area};
  require(ptrace(PTRACE_GETREGSET, pid, NT_X86_XSTATE, &set) == 0 && set.iov_len > 576,
          "PTRACE_GETREGSET");
  memcpy(&number, area + 160, sizeof number);
  printf("now of %.2f\n", number);

  // Ten steps, system calls among them.
  for (int i = 0; i < 10; ++i) {
    resume(pid, PTRACE_SINGLESTEP, 0);
    expect_stop(pid, SIGTRAP, "one of many steps");
  }

  // Signals, of which the child gets the second only, with another mask in between.
  resume(pid, PTRACE_CONT, 0);
  expect_stop(pid, SIGUSR1, "the first signal");
  uint64_t mask = 0;
  require(ptrace(PTRACE_GETSIGMASK, pid, sizeof mask, &mask) == 0, "PTRACE_GETSIGMASK");
  mask |= 1 << (SIGHUP - 1);
  require(ptrace(PTRACE_SETSIGMASK, pid, sizeof mask, &mask) == 0, "PTRACE_SETSIGMASK");
  kill(pid, SIGHUP); // is blocked now
  resume(pid, PTRACE_CONT, 0);
  expect_stop(pid, SIGUSR2, "the second signal");
  resume(pid, PTRACE_SINGLESTEP, SIGUSR2);
  expect_stop(pid, SIGTRAP, "a step into the handler");
  printf("in the handler: %d\n", registers_of(pid).rip == (uintptr_t)on_signal);

  // System calls: another one in the place of getppid(2), and another result.
  for (;;) {
    resume(pid, PTRACE_SYSCALL, 0);
    expect_stop(pid, SIGTRAP | 0x80, "the entry of a call");
    struct user_regs_struct registers = registers_of(pid);
    struct __ptrace_syscall_info call;
    require(ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof call, &call) == 80,
            "PTRACE_GET_SYSCALL_INFO");
    require(call.op == PTRACE_SYSCALL_INFO_ENTRY && call.entry.nr == registers.orig_rax,
            "which call it is");
    const int wanted = registers.orig_rax == SYS_getppid;
    if (wanted) {
      printf("getppid(%lld, %lld, %lld), %lld\n", registers.rdi, registers.rsi, registers.rdx,
             (long long)registers.rax);
      registers.orig_rax = SYS_lseek;
      registers.rdi = 10000;
      set_registers(pid, &registers);
    }
    resume(pid, PTRACE_SYSCALL, 0);
    expect_stop(pid, SIGTRAP | 0x80, "the exit from a call");
    require(ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof call, &call) == 33,
            "PTRACE_GET_SYSCALL_INFO");
    require(call.op == PTRACE_SYSCALL_INFO_EXIT, "that it is the exit");
    if (wanted) {
      registers = registers_of(pid);
      printf("lseek: %lld, error %d\n", (long long)registers.rax, call.exit.is_error);
      registers.rax = 1234;
      set_registers(pid, &registers);
      break;
    }
  }
  // A call that is not made.
  resume(pid, PTRACE_SYSCALL, 0);
  expect_stop(pid, SIGTRAP | 0x80, "a write");
  struct user_regs_struct registers = registers_of(pid);
  printf("call %lld\n", (long long)registers.orig_rax);
  resume(pid, PTRACE_CONT, 0);
  expect_stop(pid, SIGTRAP, "the child's own breakpoint");
  resume(pid, PTRACE_SYSCALL, 0);
  expect_stop(pid, SIGSEGV, "the child's fault");
  siginfo_t info;
  require(ptrace(PTRACE_GETSIGINFO, pid, 0, &info) == 0, "PTRACE_GETSIGINFO");
  printf("fault at %p\n", info.si_addr);
  resume(pid, PTRACE_CONT, SIGSEGV);
  const int status = wait_for(pid, "the end");
  printf("ended by %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
  require(ptrace(PTRACE_CONT, pid, 0, 0) == -1 && errno == ESRCH, "one that is gone");
  return 0;
}
