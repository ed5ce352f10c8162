// Stores extended registers by XSAVEC, as a lazily binding linker does for each function that it
// binds, and shows that nothing else changes: by several operands, with data below the stack
// pointer, into memory that it may not write to, while signals come, in threads and children.
#define _GNU_SOURCE
#include <cpuid.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#define AREA 16384

struct seen {
  uint64_t rax, rcx, rdx, r11, flags, below;
};

// Each stores the components 0 to 2 to `base`, which is aligned to 64 bytes, and tells of the
// registers behind it. NAME_at is the instruction. Its bytes are enough for a jump.
#define SAVE(name, prepare, instruction)                                                           \
  void name(unsigned char* base, struct seen* seen);                                               \
  extern const char name##_at[];                                                                   \
  __asm__(".text\n.p2align 4\n.globl " #name "\n.type " #name ", @function\n" #name ":\n"          \
          ".cfi_startproc\n"                                                                       \
          "push %r12\n.cfi_adjust_cfa_offset 8\n" prepare "\n"                                     \
          "mov $7, %eax\nxor %edx, %edx\n"                                                         \
          "movabs $0x1122334455667788, %r11\n"                                                     \
          "mov %r11, -96(%rsp)\n"                                                                  \
          "stc\nstd\n"                                                                             \
          ".globl " #name "_at\n" #name "_at: " instruction "\n"                                   \
          "mov %rax, (%rsi)\nmov %rcx, 8(%rsi)\nmov %rdx, 16(%rsi)\nmov %r11, 24(%rsi)\n"          \
          "mov -96(%rsp), %rax\nmov %rax, 40(%rsi)\n"                                              \
          "lea -128(%rsp), %rsp\npushf\npop %rax\nlea 128(%rsp), %rsp\nmov %rax, 32(%rsi)\n"       \
          "cld\npop %r12\n.cfi_adjust_cfa_offset -8\nret\n"                                        \
          ".cfi_endproc\n.size " #name ", . - " #name "\n")

SAVE(save_far, "lea -4096(%rdi), %rdi\nmov $5, %ecx", "xsavec 4096(%rdi)");
SAVE(save_high, "lea -64(%rdi), %r12\nmov $6, %ecx", "xsavec 64(%r12)");
SAVE(save_indexed, "mov $64, %ecx\nlea -192(%rdi), %rdi", "xsavec 64(%rdi,%rcx,2)");
SAVE(save_wide, "mov $8, %ecx", "xsavec64 0(%rdi)\n.byte 0x0f, 0x1f, 0x00");

static const struct {
  const char* name;
  void (*save)(unsigned char*, struct seen*);
  uint64_t rcx;
} kWays[] = {{"far", save_far, 5},
             {"high", save_high, 6},
             {"indexed", save_indexed, 64},
             {"wide", save_wide, 8}};

static void require(int condition, const char* what) {
  if (!condition) {
    printf("FAILED: %s\n", what);
    exit(1);
  }
}

static void check(const struct seen* seen, uint64_t rcx) {
  require(seen->rax == 7 && seen->rdx == 0, "eax or edx");
  require(seen->rcx == rcx, "rcx");
  require(seen->r11 == UINT64_C(0x1122334455667788) && seen->below == seen->r11, "r11");
  require((seen->flags & 0x401) == 0x401, "flags");
}

static uint64_t digest(const unsigned char* area) {
  uint64_t value = UINT64_C(1469598103934665603);
  for (int i = 0; i < 1024; ++i) {
    value = (value ^ area[i]) * UINT64_C(1099511628211);
  }
  return value;
}

static unsigned char* make_area(void) {
  return mmap(NULL, AREA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void show_ways(void) {
  unsigned char* area = make_area();
  for (unsigned i = 0; i < sizeof kWays / sizeof kWays[0]; ++i) {
    uint64_t all = 0;
    for (int round = 0; round < 400; ++round) {
      const uint64_t pattern[2] = {UINT64_C(0x0101010101010101) * (uint64_t)(round & 0xff), i};
      struct seen seen;
      __asm__ volatile("movups %0, %%xmm5" : : "m"(pattern) : "xmm5");
      kWays[i].save(area, &seen);
      check(&seen, kWays[i].rcx);
      require(memcmp(area + 160 + 5 * 16, pattern, sizeof pattern) == 0, "xmm5 in memory");
      all = all * 31 + digest(area);
    }
    printf("%s: %016llx\n", kWays[i].name, (unsigned long long)all);
  }
  munmap(area, AREA);
}

static unsigned char* denied;
static volatile sig_atomic_t faults;

static void on_fault(int signal, siginfo_t* info, void* context) {
  const greg_t* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
  require(signal == SIGSEGV && (unsigned char*)info->si_addr >= denied &&
              (unsigned char*)info->si_addr < denied + AREA,
          "address of the fault");
  require(registers[REG_RIP] == (greg_t)(intptr_t)save_far_at, "instruction of the fault");
  require(registers[REG_RAX] == 7 && registers[REG_RCX] == 5, "registers at the fault");
  ++faults;
  mprotect(denied, AREA, PROT_READ | PROT_WRITE);
}

static void show_faults(void) {
  struct sigaction action = {0};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, NULL);
  denied = make_area();
  struct seen seen;
  for (int i = 0; i < 3; ++i) {
    mprotect(denied, AREA, PROT_READ);
    save_far(denied, &seen);
    check(&seen, 5);
  }
  printf("faults: %d\n", (int)faults);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGILL);
  sigprocmask(SIG_BLOCK, &set, NULL); // what stands in for the instruction may raise it
  save_high(denied, &seen);
  check(&seen, 6);
  sigprocmask(SIG_SETMASK, NULL, &set);
  require(sigismember(&set, SIGILL) == 1, "SIGILL is blocked");
  sigdelset(&set, SIGILL);
  sigprocmask(SIG_SETMASK, &set, NULL);
}

static volatile sig_atomic_t alarms;

static void on_alarm(int signal, siginfo_t* info, void* context) {
  (void)signal;
  (void)info;
  const greg_t* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
  const uint64_t place = (uint64_t)registers[REG_RIP];
  require(place < UINT64_C(0x7fffe8000000) || place > UINT64_C(0x7fffe8100000),
          "place of a signal");
  ++alarms;
}

static void show_signals(void) {
  struct sigaction action = {0};
  action.sa_sigaction = on_alarm;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigaction(SIGALRM, &action, NULL);
  const struct itimerval timer = {{0, 2000}, {0, 2000}};
  unsigned char* area = make_area();
  struct seen seen;
  setitimer(ITIMER_REAL, &timer, NULL);
  for (int i = 0; alarms < 12; ++i) {
    kWays[i & 3].save(area, &seen);
    check(&seen, kWays[i & 3].rcx);
    if (i % 64 == 0) {
      getppid();
    }
  }
  const struct itimerval none = {{0, 0}, {0, 0}};
  setitimer(ITIMER_REAL, &none, NULL);
  printf("alarms: %d\n", alarms >= 12);
  munmap(area, AREA);
}

static void* in_thread(void* argument) {
  unsigned char* area = make_area();
  struct seen seen;
  uint64_t all = 0;
  for (int i = 0; i < 1500; ++i) {
    save_high(area, &seen);
    check(&seen, 6);
    all = all * 31 + digest(area);
    if (i % 100 == 0) {
      sched_yield();
    }
  }
  *(uint64_t*)argument = all;
  return NULL;
}

static void show_threads(void) {
  pthread_t threads[2];
  uint64_t digests[2];
  for (int i = 0; i < 2; ++i) {
    pthread_create(&threads[i], NULL, in_thread, &digests[i]);
  }
  for (int i = 0; i < 2; ++i) {
    pthread_join(threads[i], NULL);
    printf("thread %d: %016llx\n", i, (unsigned long long)digests[i]);
  }
  fflush(stdout);
  for (int i = 0; i < 2; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      in_thread(&digests[0]);
      _exit(digests[0] == 0);
    }
    int status = 0;
    require(waitpid(child, &status, 0) == child && status == 0, "a child");
  }
  printf("children\n");
}

int main(void) {
  unsigned words[4];
  if (__get_cpuid_count(0xd, 1, &words[0], &words[1], &words[2], &words[3]) == 0 ||
      (words[0] >> 1 & 1) == 0) {
    printf("this processor has no XSAVEC\n");
    return 0;
  }
  show_ways();
  show_faults();
  show_signals();
  show_threads();
  return 0;
}
