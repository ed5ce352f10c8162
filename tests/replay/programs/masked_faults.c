// Reads the time-stamp counter, and stores extended registers, while SIGSEGV and SIGTRAP are
// blocked or ignored, and says what became of masks and actions: nothing, as without a recorder.
#define _GNU_SOURCE
#include <cpuid.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

static sigjmp_buf escape;

static void on_fault(int signal) {
  (void)signal;
  siglongjmp(escape, 1);
}

// What a dynamic linker does where functions are bound lazily.
static void save_registers(void) {
  static _Alignas(64) char area[8192];
  unsigned a, b, c, d;
  if (__get_cpuid(1, &a, &b, &c, &d) && (c & bit_OSXSAVE) != 0) {
    __asm__ volatile("xsave64 %0" : "=m"(area) : "a"(3), "d"(0) : "memory");
  }
}

static const char* name_of(int signal) {
  struct sigaction action;
  sigaction(signal, NULL, &action);
  return action.sa_handler == on_fault  ? "the handler"
         : action.sa_handler == SIG_IGN ? "ignored"
         : action.sa_handler == SIG_DFL ? "the default"
                                        : "something else";
}

static void show(const char* when) {
  save_registers();
  const int counts = __rdtsc() != 0;
  sigset_t mask;
  pthread_sigmask(SIG_BLOCK, NULL, &mask);
  struct sigaction action;
  sigaction(SIGSEGV, NULL, &action);
  printf("%s: counts %d, blocked %d %d %d, %s, %s, flags %d, also masks %d\n", when, counts,
         sigismember(&mask, SIGSEGV), sigismember(&mask, SIGUSR1), sigismember(&mask, SIGTRAP),
         name_of(SIGSEGV), name_of(SIGTRAP), (action.sa_flags & SA_NODEFER) != 0,
         sigismember(&action.sa_mask, SIGUSR2));
  fflush(stdout);
}

static void* in_thread(void* argument) {
  (void)argument;
  show("in a thread");
  return NULL;
}

int main(int argc, char** argv) {
  (void)argv;
  if (argc > 1) {
    show("after exec");
    return 0;
  }
  show("at first");
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = on_fault;
  action.sa_flags = SA_NODEFER;
  sigaddset(&action.sa_mask, SIGUSR2);
  sigaction(SIGSEGV, &action, NULL);
  sigaction(SIGTRAP, &action, NULL);
  show("with a handler");
  sigset_t all, before;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &before);
  show("all blocked");
  show("all blocked still");
  pthread_t thread;
  pthread_create(&thread, NULL, in_thread, NULL);
  pthread_join(thread, NULL);
  sigprocmask(SIG_SETMASK, &before, NULL);
  if (sigsetjmp(escape, 1) == 0) {
    *(volatile int*)mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) = 1;
  } else {
    show("after a fault");
  }
  signal(SIGSEGV, SIG_IGN);
  signal(SIGTRAP, SIG_IGN);
  show("ignored");
  const pid_t child = fork();
  if (child == 0) {
    sigprocmask(SIG_SETMASK, &all, NULL);
    show("in a child");
    execl("/proc/self/exe", "masked_faults", "again", NULL);
    _exit(1);
  }
  int status;
  waitpid(child, &status, 0);
  show("at last");
  return status;
}
