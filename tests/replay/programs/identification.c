// Asks CPUID, as a C library does dozens of times when a program starts, and shows that nothing
// else changes: with what is asked set directly before, further before and somewhere else, with
// data below the stack pointer, while signals come, with SIGILL blocked, in steps, in children.
// With an argument: only what comes out the same in every run.
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

struct answer {
  uint32_t words[4]; // eax, ebx, ecx, edx
  uint64_t r11, flags, below, high;
};

// Each asks for the leaf 0x80000000, which is `leaf`.
#define ASK(name, instructions)                                                                    \
  void name(struct answer* answer, uint64_t leaf);                                                 \
  __asm__(".text\n.p2align 4\n.globl " #name "\n.type " #name ", @function\n" #name ":\n"          \
          ".cfi_startproc\n"                                                                       \
          "push %rbx\n.cfi_adjust_cfa_offset 8\n.cfi_rel_offset %rbx, 0\n"                         \
          "movabs $0x1122334455667788, %r11\n"                                                     \
          "mov %r11, -96(%rsp)\n"                                                                  \
          "mov $-1, %rax\nmov %rax, %rcx\nmov %rax, %rdx\nmov %rax, %rbx\n"                        \
          "stc\nstd\n" instructions "\n"                                                           \
          "mov %eax, (%rdi)\nmov %ebx, 4(%rdi)\nmov %ecx, 8(%rdi)\nmov %edx, 12(%rdi)\n"           \
          "mov %r11, 16(%rdi)\n"                                                                   \
          "or %rbx, %rax\nor %rcx, %rax\nor %rdx, %rax\nshr $32, %rax\nmov %rax, 40(%rdi)\n"       \
          "mov -96(%rsp), %rax\nmov %rax, 32(%rdi)\n"                                              \
          "lea -128(%rsp), %rsp\npushf\npop %rax\nlea 128(%rsp), %rsp\nmov %rax, 24(%rdi)\n"       \
          "cld\npop %rbx\n.cfi_adjust_cfa_offset -8\nret\n"                                        \
          ".cfi_endproc\n.size " #name ", . - " #name "\n")

ASK(ask_directly, "mov $0, %ecx\nmov $0x80000000, %eax\ncpuid");
ASK(ask_before, "mov $0x80000000, %eax\nxor %ecx, %ecx\nlea 0(%rcx), %r8\ncpuid");
ASK(ask_through, "mov $0x80000000, %r8d\nmov %r8d, %eax\nmov $0, %ecx\ncpuid");
ASK(ask_given, "mov %esi, %eax\nxor %ecx, %ecx\ncpuid");
// Into the middle of what leads there.
ASK(ask_inside, "mov %esi, %eax\njmp 1f\nmov $0x80000001, %eax\n1: mov %edx, %ecx\ncpuid");

static const struct {
  const char* name;
  void (*ask)(struct answer*, uint64_t);
} kWays[] = {{"directly", ask_directly},
             {"before", ask_before},
             {"through", ask_through},
             {"given", ask_given},
             {"inside", ask_inside}};
enum { kWayCount = sizeof kWays / sizeof kWays[0] };

static void require(int condition, const char* what) {
  if (!condition) {
    printf("FAILED: %s\n", what);
    exit(1);
  }
}

static void check(unsigned way, const struct answer* expected) {
  struct answer answer;
  memset(&answer, 0, sizeof answer);
  kWays[way].ask(&answer, 0x80000000);
  require(memcmp(answer.words, expected->words, sizeof answer.words) == 0, kWays[way].name);
  require(answer.r11 == UINT64_C(0x1122334455667788) && answer.below == answer.r11, "r11");
  require(answer.high == 0, "upper halves");
  require((answer.flags & 0x400) == 0x400, "flags");
}

static void show_ways(const struct answer* expected) {
  for (unsigned way = 0; way < kWayCount; ++way) {
    for (int round = 0; round < 1500; ++round) { // more than are kept at a time
      check(way, expected);
    }
    printf("%s: the same\n", kWays[way].name);
  }
}

static volatile sig_atomic_t alarms;
static volatile sig_atomic_t steps;

static void on_alarm(int signal, siginfo_t* info, void* context) {
  (void)signal;
  (void)info;
  const greg_t* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
  const uint64_t place = (uint64_t)registers[REG_RIP];
  require(place < UINT64_C(0x7fffe8000000) || place > UINT64_C(0x7fffe8100000),
          "place of a signal");
  ++alarms;
}

static void on_step(int signal) {
  (void)signal;
  ++steps;
}

static void show_signals(const struct answer* expected) {
  struct sigaction action = {0};
  action.sa_sigaction = on_alarm;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigaction(SIGALRM, &action, NULL);
  const struct itimerval timer = {{0, 2000}, {0, 2000}};
  setitimer(ITIMER_REAL, &timer, NULL);
  for (unsigned i = 0; alarms < 12; ++i) {
    check(i % kWayCount, expected);
    if (i % 64 == 0) {
      getppid();
    }
  }
  const struct itimerval none = {{0, 0}, {0, 0}};
  setitimer(ITIMER_REAL, &none, NULL);
  printf("alarms: %d\n", alarms >= 12);
}

static void show_blocked(const struct answer* expected) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGILL);
  sigprocmask(SIG_BLOCK, &set, NULL);
  for (unsigned way = 0; way < kWayCount; ++way) {
    check(way, expected);
  }
  sigprocmask(SIG_SETMASK, NULL, &set);
  require(sigismember(&set, SIGILL) == 1, "SIGILL is blocked");
  sigdelset(&set, SIGILL);
  sigprocmask(SIG_SETMASK, &set, NULL);
  signal(SIGILL, SIG_IGN);
  for (unsigned way = 0; way < kWayCount; ++way) {
    check(way, expected);
  }
  require(signal(SIGILL, SIG_DFL) == SIG_IGN, "SIGILL is ignored");
  printf("blocked and ignored\n");
}

static void show_steps(void) {
  signal(SIGTRAP, on_step);
  uint32_t eax;
  __asm__ volatile("pushfq\norq $0x100, (%%rsp)\npopfq\n"
                   "mov $0x80000000, %%eax\nxor %%ecx, %%ecx\ncpuid\n"
                   "pushfq\nandq $~0x100, (%%rsp)\npopfq\n"
                   : "=a"(eax)
                   :
                   : "rbx", "rcx", "rdx", "cc", "memory");
  require(eax >= 0x80000000 && steps >= 5, "steps");
  printf("stepped\n");
}

static void show_children(const struct answer* expected) {
  fflush(stdout);
  for (int i = 0; i < 2; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      for (unsigned j = 0; j < 300; ++j) {
        check(j % kWayCount, expected);
      }
      _exit(0);
    }
    int status = 0;
    require(waitpid(child, &status, 0) == child && status == 0, "a child");
  }
  printf("children\n");
}

int main(int argc, char** argv) {
  (void)argv;
  struct answer expected;
  ask_given(&expected, 0x80000000);
  require(expected.words[0] >= 0x80000000, "the highest leaf");
  show_ways(&expected);
  if (argc > 1) {
    return 0;
  }
  show_blocked(&expected);
  show_signals(&expected);
  show_children(&expected);
  show_steps();
  return 0;
}
