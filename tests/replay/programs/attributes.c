// What prctl(2) says of attributes that a recorder needs for itself, and sched_getaffinity(2) of
// processors, before and after they are set.
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

static sigjmp_buf escape;

static void on_fault(int signal) {
  (void)signal;
  siglongjmp(escape, 1);
}

static void set(int option, unsigned long value) {
  errno = 0;
  const int result = prctl(option, value, 0, 0, 0);
  printf("set %d to %lu: %d, %s\n", option, value, result, strerror(errno));
}

// Allows one processor, or all that may be allowed.
static void allow(int all) {
  cpu_set_t set;
  cpu_set_t wanted;
  sched_getaffinity(0, sizeof set, &set);
  CPU_ZERO(&wanted);
  for (int i = CPU_SETSIZE; i-- > 0;) {
    if (all || CPU_ISSET(i, &set)) {
      CPU_SET(i, &wanted);
      if (!all) {
        break;
      }
    }
  }
  printf("allowed: %d", sched_setaffinity(0, sizeof wanted, &wanted));
  CPU_ZERO(&wanted);
  printf(", none: %d", sched_setaffinity(getpid(), sizeof wanted, &wanted));
  printf(", nobody's: %d\n", sched_getaffinity(0x3ffffffe, sizeof set, &set));
}

static void show_processors(void) {
  cpu_set_t set;
  const int result = sched_getaffinity(0, sizeof set, &set);
  printf("processors (%d):", result);
  for (int i = 0; result == 0 && i < CPU_SETSIZE; ++i) {
    if (CPU_ISSET(i, &set)) {
      printf(" %d", i);
    }
  }
  printf("\n");
}

static void show(const char* when) {
  show_processors();
  int mode = -1;
  const int result = prctl(PR_GET_TSC, &mode, 0, 0, 0);
  printf("%s: dumpable %d, counter %d (%d)", when, prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), mode,
         result);
  if (sigsetjmp(escape, 1) == 0) {
    printf(", counts %d\n", __rdtsc() != 0);
  } else {
    printf(", faults\n");
  }
  fflush(stdout);
}

int main(int argc, char** argv) {
  (void)argv;
  signal(SIGSEGV, on_fault);
  show(argc > 1 ? "after exec" : "at first");
  set(PR_SET_DUMPABLE, 0);
  set(PR_SET_DUMPABLE, 7);
  set(PR_SET_TSC, 5);
  show("not dumpable");
  if (argc > 1) {
    return 0;
  }
  set(PR_SET_TSC, PR_TSC_SIGSEGV);
  allow(0);
  show("no counter");
  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    show("in a child");
    set(PR_SET_DUMPABLE, 1);
    set(PR_SET_TSC, PR_TSC_ENABLE);
    show("in a child with the counter");
    set(PR_SET_TSC, PR_TSC_SIGSEGV);
    fflush(stdout);
    execl("/proc/self/exe", "attributes", "again", NULL);
    _exit(1);
  }
  int status;
  waitpid(child, &status, 0);
  show("at last");
  allow(1);
  set(PR_SET_TSC, PR_TSC_ENABLE);
  set(PR_SET_DUMPABLE, 1);
  show("back again");
  return status;
}
