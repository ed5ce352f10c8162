#include "replay/travel/generated_program.h"

#include <random>

namespace rrpcp::test {

namespace {

constexpr int kFunctions = 6;

constexpr const char* kBeginning = R"(#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

volatile long g[8];
static char from[300], to[300];
static __thread sigjmp_buf back;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((noinline)) void handler(int number) { g[number & 7] += number; }
__attribute__((noinline)) void on_fault(int number) { g[1] += number; siglongjmp(back, 1); }
)";

class Generator {
public:
  explicit Generator(std::uint32_t seed) : random_(seed) {}

  GeneratedProgram run() {
    GeneratedProgram program;
    program.threads = chance(4);
    program.forks = chance(5);
    source_ = kBeginning;
    for (int i = kFunctions - 1; i >= 0; --i) {
      source_ += "__attribute__((noinline)) long f" + std::to_string(i) + "(long a) {\n";
      depth_ = 0;
      const int statements = 2 + number(4);
      for (int k = 0; k < statements; ++k) {
        statement(i);
      }
      source_ += "  return a + g[" + std::to_string(number(8)) + "];\n}\n";
    }
    if (program.threads) {
      source_ += "static void *thread(void *p) { for (int i = 0; i < " +
                 std::to_string(2 + number(4)) + "; ++i) { pthread_mutex_lock(&lock); g[2] += f" +
                 std::to_string(1 + number(kFunctions - 1)) +
                 "((long)p + i); pthread_mutex_unlock(&lock); } return 0; }\n";
    }
    source_ += "int main(void) {\n  signal(SIGUSR1, handler);\n  signal(SIGUSR2, handler);\n"
               "  signal(SIGSEGV, on_fault);\n";
    if (program.threads) {
      source_ += "  pthread_t t[2];\n  for (long i = 0; i < 2; ++i) pthread_create(&t[i], 0, "
                 "thread, (void *)i);\n";
    }
    if (program.forks) {
      source_ += "  pid_t child = fork();\n  if (child == 0) { g[3] = f2(5); _exit((int)(g[3] & "
                 "63)); }\n  int status = 0;\n  waitpid(child, &status, 0);\n  g[4] += status;\n";
    }
    source_ +=
        "  for (long i = 0; i < " + std::to_string(2 + number(5)) + "; ++i) g[0] += f0(i);\n";
    if (program.threads) {
      source_ += "  for (int i = 0; i < 2; ++i) pthread_join(t[i], 0);\n";
    }
    source_ += "  printf(\"%ld %ld\\n\", g[0], g[5]);\n";
    if (chance(6)) {
      source_ += "  signal(SIGSEGV, SIG_DFL);\n  *(volatile int *)8 = 1;\n";
    }
    source_ += "  return 0;\n}\n";
    program.source = source_;
    return program;
  }

private:
  int number(int below) { return static_cast<int>(random_() % static_cast<std::uint32_t>(below)); }
  bool chance(int one_in) { return number(one_in) == 0; }
  std::string element() { return "g[" + std::to_string(number(8)) + "]"; }

  void statement(int function) {
    switch (number(15)) {
    case 0:
    case 1:
      source_ += "  " + element() + " += a * " + std::to_string(1 + number(9)) + ";\n";
      break;
    case 2:
    case 3:
      if (depth_ < 2) {
        ++depth_;
        source_ += "  for (int i" + std::to_string(depth_) + " = 0; i" + std::to_string(depth_) +
                   " < " + std::to_string(1 + number(depth_ == 1 ? 30 : 6)) + "; ++i" +
                   std::to_string(depth_) + ") {\n";
        statement(function);
        source_ += "  }\n";
        --depth_;
      }
      break;
    case 4:
      source_ += "  if (a & " + std::to_string(1 << number(3)) + ") {\n";
      statement(function);
      source_ += "  } else {\n";
      statement(function);
      source_ += "  }\n";
      break;
    case 5:
    case 6:
      if (function + 1 < kFunctions && depth_ == 0) {
        source_ += "  a += f" + std::to_string(function + 1 + number(kFunctions - function - 1)) +
                   "(a & 15);\n";
      }
      break;
    case 7:
      source_ +=
          "  { void *d = to; const void *s = from; long n = " + std::to_string(1 + number(290)) +
          "; __asm__ volatile(\"rep movsb\" : \"+D\"(d), \"+S\"(s), \"+c\"(n) : : "
          "\"memory\"); }\n";
      break;
    case 8:
      source_ += "  { void *d = from; long n = " + std::to_string(number(30)) +
                 "; __asm__ volatile(\"rep stosq\" : \"+D\"(d), \"+c\"(n) : \"a\"(a) : "
                 "\"memory\"); }\n";
      break;
    case 9:
      if (depth_ == 0) {
        source_ += "  g[5] += getppid() != 0;\n";
      }
      break;
    case 10:
      if (depth_ == 0) {
        source_ += "  { unsigned low, high; __asm__ volatile(\"rdtsc\" : \"=a\"(low), "
                   "\"=d\"(high)); g[6] = low; }\n";
      }
      break;
    case 11:
      if (depth_ == 0) {
        source_ += std::string("  raise(") + (chance(2) ? "SIGUSR1" : "SIGUSR2") + ");\n";
      }
      break;
    case 12:
      if (depth_ == 0 && chance(2)) {
        source_ += "  if (sigsetjmp(back, 1) == 0) *(volatile int *)16 = 1;\n";
      }
      break;
    case 13:
      if (depth_ == 0 && chance(2)) { // what the processor takes for used
        source_ += "  { static char area[4096] __attribute__((aligned(64))); __asm__ "
                   "volatile(\"fldpi; fstp %%st(0); xsave %0\" : \"+m\"(area) : \"a\"(7), "
                   "\"d\"(0)); " +
                   element() + " += *(long *)(area + 512); }\n";
        break;
      }
      source_ += "  { double d = (double)a * 1.5; " + element() + " += (long)d; }\n";
      break;
    default:
      source_ += "  __asm__ volatile(\"pushfq; popq %0\" : \"=r\"(a)); a &= 31;\n";
    }
  }

  std::mt19937 random_;
  std::string source_;
  int depth_ = 0;
};

} // namespace

GeneratedProgram generate_program(std::uint32_t seed) {
  return Generator(seed).run();
}

} // namespace rrpcp::test
