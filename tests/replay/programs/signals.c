// Handlers of SIGALRM (in a wait, in a computation and during a blocked read), SIGCHLD, SIGSEGV and
// SIGPROF.
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t alarms, children, timers;
static sigjmp_buf escape;
static void* fault_address;

static void on_alarm(int signal) {
  (void)signal;
  ++alarms;
}

static void on_timer(int signal) {
  (void)signal;
  ++timers;
}

static void on_child(int signal, siginfo_t* info, void* context) {
  (void)signal;
  (void)context;
  if (info->si_code == CLD_EXITED) {
    children += info->si_status;
  }
}

static void on_fault(int signal, siginfo_t* info, void* context) {
  (void)signal;
  (void)context;
  fault_address = info->si_addr;
  siglongjmp(escape, 1);
}

static void arm(long microseconds) {
  struct itimerval timer;
  memset(&timer, 0, sizeof timer);
  timer.it_value.tv_usec = microseconds;
  setitimer(ITIMER_REAL, &timer, NULL);
}

int main(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = on_alarm;
  sigaction(SIGALRM, &action, NULL);
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  action.sa_sigaction = on_child;
  sigaction(SIGCHLD, &action, NULL);
  static char stack[65536];
  stack_t alternate = {stack, 0, sizeof stack};
  sigaltstack(&alternate, NULL);
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  action.sa_sigaction = on_fault;
  sigaction(SIGSEGV, &action, NULL);

  sigset_t blocked, none;
  sigemptyset(&none);
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGALRM);
  sigprocmask(SIG_BLOCK, &blocked, NULL);
  arm(20000);
  while (alarms == 0) {
    sigsuspend(&none);
  }
  printf("suspended: %d\n", (int)alarms);
  sigprocmask(SIG_UNBLOCK, &blocked, NULL);

  arm(20000);
  unsigned long loops = 0;
  double x = 1.0;
  while (alarms == 1) {
    x = x * 1.0000001 + 0.5;
    ++loops;
  }
  printf("computed until %d, %d\n", (int)alarms, loops > 0 && x > 0);

  int ends[2];
  if (pipe(ends) != 0) {
    return 1;
  }
  arm(20000);
  char byte;
  const ssize_t n = read(ends[0], &byte, 1);
  printf("read: %zd %s, %d\n", n, errno == EINTR ? "EINTR" : "?", (int)alarms);

  for (int i = 1; i <= 3; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      _exit(i);
    }
    int status;
    while (waitpid(child, &status, 0) < 0) {
    }
  }
  printf("children: %d\n", (int)children);

  char* page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int i = 0; i < 3; ++i) {
    if (sigsetjmp(escape, 1) == 0) {
      page[i] = 1;
    }
    printf("fault at %ld\n", (long)((char*)fault_address - page));
  }
  // The frame of one signal cannot be written, which is the other's occasion.
  signal(SIGILL, on_alarm);
  if (sigsetjmp(escape, 1) == 0) {
    __asm__ volatile("mov $64, %%rsp; ud2" : : : "memory");
  }
  printf("left a stack that is none\n");
  raise(SIGALRM);
  printf("raised: %d\n", (int)alarms);
  // Faster than the handlers of both can be entered while the other is held back.
  signal(SIGALRM, on_timer);
  signal(SIGPROF, on_timer);
  const struct itimerval often = {{0, 500}, {0, 500}};
  const struct itimerval never = {{0, 0}, {0, 0}};
  setitimer(ITIMER_REAL, &often, NULL);
  setitimer(ITIMER_PROF, &often, NULL);
  while (timers < 100) {
    x = x * 1.0000001 + 0.5;
  }
  setitimer(ITIMER_REAL, &never, NULL);
  setitimer(ITIMER_PROF, &never, NULL);
  printf("many timers: %d\n", x > 0);
  fflush(stdout);
  signal(SIGTERM, SIG_DFL);
  kill(getpid(), SIGTERM);
  return 0;
}
