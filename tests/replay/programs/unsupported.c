// Asks for what a recording does not have, and says what it was told.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void) {
  char parameters[256];
  memset(parameters, 0, sizeof parameters);
  const long ring = syscall(SYS_io_uring_setup, 4, parameters);
  printf("io_uring: %ld %s\n", ring, strerror(errno));
  const long faults = syscall(SYS_userfaultfd, 0);
  printf("userfaultfd: %ld %s\n", faults, strerror(errno));
  const long trace = ptrace(PTRACE_TRACEME, 0, NULL, NULL);
  printf("ptrace: %ld %s\n", trace, strerror(errno));
  return 0;
}
