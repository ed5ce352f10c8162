// What prctl(2) says of attributes that a recorder needs for itself, before and after they are set.
#define _GNU_SOURCE
#include <errno.h>
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

static void show(const char* when) {
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
  set(PR_SET_TSC, PR_TSC_ENABLE);
  set(PR_SET_DUMPABLE, 1);
  show("back again");
  return status;
}
