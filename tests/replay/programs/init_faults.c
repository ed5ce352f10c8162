// The first process of a PID namespace dies of its own fault.
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void) {
  int status = 0;
  if (unshare(CLONE_NEWPID) != 0) {
    printf("not allowed\n");
    return 0;
  }
  pid_t child = fork();
  if (child == 0) {
    *(volatile int*)0 = 1;
    _exit(0);
  }
  waitpid(child, &status, 0);
  printf("signal %d\n", WTERMSIG(status));
  return 0;
}
