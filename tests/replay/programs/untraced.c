// Makes processes with CLONE_UNTRACED, by clone(2) and by clone3(2), and says whether the arguments
// are still what they were, in both of them.
#define _GNU_SOURCE
#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void wait_for(long child) {
  int status = 0;
  const pid_t ended = waitpid((pid_t)child, &status, __WALL);
  printf("ended %d, status %d\n", ended == child, WEXITSTATUS(status));
  fflush(stdout);
}

int main(void) {
  long child = syscall(SYS_clone, CLONE_UNTRACED | SIGCHLD, 0, 0, 0, 0);
  if (child == 0) {
    printf("a child of clone\n");
    fflush(stdout);
    _exit(3);
  }
  wait_for(child);
  struct clone_args arguments;
  memset(&arguments, 0, sizeof arguments);
  arguments.flags = CLONE_UNTRACED;
  arguments.exit_signal = SIGCHLD;
  int said[2]; // the child says what it has to say first
  if (pipe(said) != 0) {
    return 1;
  }
  child = syscall(SYS_clone3, &arguments, sizeof arguments);
  if (child == 0) {
    printf("a child of clone3, flags %llx\n", (unsigned long long)arguments.flags);
    fflush(stdout);
    _exit(4);
  }
  close(said[1]);
  char byte;
  if (read(said[0], &byte, 1) != 0) { // its end
    return 1;
  }
  printf("made %d, flags %llx\n", child > 0, (unsigned long long)arguments.flags);
  fflush(stdout);
  wait_for(child);
  arguments.flags |= CLONE_THREAD; // without CLONE_SIGHAND
  child = syscall(SYS_clone3, &arguments, sizeof arguments);
  printf("made %d, %s, flags %llx\n", child > 0, strerror(errno),
         (unsigned long long)arguments.flags);
  return 0;
}
