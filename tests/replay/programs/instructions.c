// Executes the instructions that no replay can foresee, also in code that it makes, and shows what
// they say. A `ud2` of its own stays one.
#define _GNU_SOURCE
#include <cpuid.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

static sigjmp_buf escape;
static volatile sig_atomic_t illegal;

static void on_illegal(int signal) {
  (void)signal;
  ++illegal;
  siglongjmp(escape, 1);
}

static int supports(unsigned leaf, int word, unsigned bit) {
  unsigned words[4];
  return __get_cpuid_count(leaf, 0, &words[0], &words[1], &words[2], &words[3]) != 0 &&
         (words[word] >> bit & 1) != 0;
}

static void show_counter(void) {
  unsigned processor = 0;
  const uint64_t first = __rdtsc();
  const uint64_t second = __rdtscp(&processor);
  printf("counter %llu %llu %d, of %u\n", (unsigned long long)first, (unsigned long long)second,
         second > first, processor);
}

static void show_random(void) {
  if (supports(1, 2, 30)) {
    uint64_t whole;
    uint32_t half;
    uint16_t quarter;
    uint64_t extended = ~UINT64_C(0);
    unsigned char valid[4];
    __asm__ volatile("rdrand %0; setc %1" : "=r"(whole), "=qm"(valid[0]) : : "cc");
    __asm__ volatile("rdrand %0; setc %1" : "=r"(half), "=qm"(valid[1]) : : "cc");
    __asm__ volatile("rdrand %0; setc %1" : "=r"(quarter), "=qm"(valid[2]) : : "cc");
    register uint64_t high __asm__("r14") = extended;
    __asm__ volatile("rdrand %w0; setc %1" : "+r"(high), "=qm"(valid[3]) : : "cc");
    extended = high >> 16;
    printf("random %016llx %08x %04x %llx %d%d%d%d\n", (unsigned long long)whole, half, quarter,
           (unsigned long long)extended, valid[0], valid[1], valid[2], valid[3]);
  }
  if (supports(7, 1, 18)) {
    uint64_t seed;
    unsigned char valid;
    do {
      __asm__ volatile("rdseed %0; setc %1" : "=r"(seed), "=qm"(valid) : : "cc");
    } while (valid == 0);
    printf("seed %016llx\n", (unsigned long long)seed);
  }
}

static void show_processor(void) {
  unsigned words[4];
  __cpuid(0, words[0], words[1], words[2], words[3]);
  printf("processor %.4s%.4s%.4s\n", (char*)&words[1], (char*)&words[3], (char*)&words[2]);
  if (supports(1, 2, 27)) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    printf("extended state %x%08x\n", high, low);
  }
  if (supports(7, 2, 22)) {
    uint64_t number;
    __asm__ volatile(".byte 0xf3, 0x49, 0x0f, 0xc7, 0xfc; mov %%r12, %0" // rdpid %r12
                     : "=r"(number)
                     :
                     : "r12");
    printf("number %llu\n", (unsigned long long)number);
  }
}

// mov $0x310f310f, %ecx (bytes of RDTSC in a constant); rdtsc; shl $32, %rdx; or %rdx, %rax; ret
static const unsigned char kCode[] = {0xb9, 0x0f, 0x31, 0x0f, 0x31, 0x0f, 0x31, 0x48,
                                      0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0, 0xc3};

static void show_made_code(void) {
  unsigned char* page =
      mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int round = 0; round < 3; ++round) {
    unsigned char* place = page + (size_t)round * 64;
    memcpy(place, kCode, sizeof kCode);
    mprotect(page, 8192, PROT_READ | PROT_EXEC);
    uint64_t (*call)(void);
    memcpy(&call, &place, sizeof call);
    const uint64_t value = call();
    uint32_t constant;
    memcpy(&constant, place + 1, sizeof constant);
    printf("made code %llu, constant %x\n", (unsigned long long)value, constant);
    mprotect(page, 8192, PROT_READ | PROT_WRITE);
  }
  munmap(page, 8192);
}

static void show_illegal(void) {
  signal(SIGILL, on_illegal);
  static int i; // kept over the jump
  for (i = 0; i < 2; ++i) {
    if (sigsetjmp(escape, 1) == 0) {
      __asm__ volatile("ud2");
    }
  }
  printf("illegal %d\n", (int)illegal);
  signal(SIGILL, SIG_IGN);
  show_counter();
  signal(SIGILL, SIG_DFL);
}

static uint64_t thread_pointer(void) {
  uint64_t value;
  __asm__ volatile("mov %%fs:0, %0" : "=r"(value)); // System V ABI, AMD64 supplement: it is there
  return value;
}

static unsigned char area[4096 + 64] __attribute__((aligned(64)));

static void on_fault(int signal) {
  (void)signal;
  siglongjmp(escape, 1);
}

// Which components the processor takes for used (XINUSE), and what is stored of them. A value that
// was pushed to the x87 stack and popped again may count as used or not.
static void show_saved(void) {
  if (!supports(1, 2, 27)) {
    return;
  }
  unsigned words[4];
  __cpuid_count(0xd, 1, words[0], words[1], words[2], words[3]);
  uint64_t sums[3] = {0, 0, 0};
  for (int way = 0; way < 3; ++way) {
    memset(area, 0x55, sizeof area);
    memset(area + 512, 0, 64);
    __asm__ volatile("fldpi; fstp %%st(0)" : : : "st");
    if (way == 0) {
      __asm__ volatile("xsave %0" : "+m"(area) : "a"(7), "d"(0));
    } else if (way == 1 && (words[0] & 1) != 0) {
      __asm__ volatile("xsaveopt64 %%fs:(%1)"
                       : "+m"(area)
                       : "r"((uint64_t)area - thread_pointer()), "a"(7), "d"(0));
    } else if (way == 2 && (words[0] & 2) != 0) {
      __asm__ volatile("xsavec -64(%1,%2,8)" : "+m"(area) : "r"(area), "r"(8L), "a"(7), "d"(0));
    }
    uint64_t used;
    memcpy(&used, area + 512, sizeof used);
    for (size_t i = 0; i < sizeof area; ++i) {
      sums[way] = sums[way] * 31 + area[i];
    }
    printf("saved %llx %016llx\n", (unsigned long long)used, (unsigned long long)sums[way]);
  }
  signal(SIGSEGV, on_fault);
  if (sigsetjmp(escape, 1) == 0) {
    __asm__ volatile("xsave (%0)" : : "r"(area + 1), "a"(7), "d"(0) : "memory");
    printf("stored at an odd address\n");
  }
  if (sigsetjmp(escape, 1) == 0) {
    __asm__ volatile("xsave (%0)" : : "r"(4096L), "a"(7), "d"(0) : "memory");
    printf("stored where there is no memory\n");
  }
  signal(SIGSEGV, SIG_DFL);
  signal(SIGILL, SIG_IGN);
  __asm__ volatile("xsave %0" : "+m"(area) : "a"(3), "d"(0));
  signal(SIGILL, SIG_DFL);
}

int main(void) {
  show_counter();
  show_random();
  show_processor();
  show_saved();
  show_made_code();
  show_illegal();
  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    show_counter();
    show_random();
    fflush(stdout);
    __asm__ volatile("ud2");
  }
  int status = 0;
  waitpid(child, &status, 0);
  printf("child ended by signal %d\n", WTERMSIG(status));
  show_counter();
  return 0;
}
