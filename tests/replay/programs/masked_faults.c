// Reads the time-stamp counter while SIGSEGV is blocked or ignored, and says what became of its
// mask and action: nothing, as without a recorder.
#define _GNU_SOURCE
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

static void show(const char* when) {
  const int counts = __rdtsc() != 0;
  sigset_t mask;
  pthread_sigmask(SIG_BLOCK, NULL, &mask);
  struct sigaction action;
  sigaction(SIGSEGV, NULL, &action);
  const char* name = action.sa_handler == on_fault  ? "the handler"
                     : action.sa_handler == SIG_IGN ? "ignored"
                     : action.sa_handler == SIG_DFL ? "the default"
                                                    : "something else";
  printf("%s: counts %d, blocked %d %d, %s, flags %d, also masks %d\n", when, counts,
         sigismember(&mask, SIGSEGV), sigismember(&mask, SIGUSR1), name,
         (action.sa_flags & SA_NODEFER) != 0, sigismember(&action.sa_mask, SIGUSR2));
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
