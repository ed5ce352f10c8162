// vfork: children that change the parent's memory, and ones that execute a program.
#define _GNU_SOURCE
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

int main(void) {
  volatile int shared = 0;
  for (volatile int i = 0; i < 3; ++i) {
    const pid_t child = vfork();
    if (child == 0) {
      shared += 10;
      _exit(i);
    }
    int status = 0;
    waitpid(child, &status, 0);
    printf("%d: status %d, shared %d\n", i, WEXITSTATUS(status), shared);
    fflush(stdout);
  }
  const pid_t child = vfork();
  if (child == 0) {
    execl("/bin/echo", "echo", "from the vforked child", (char*)NULL);
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  pid_t spawned;
  char* arguments[] = {"sh", "-c", "echo spawned; exit 5", NULL};
  if (posix_spawn(&spawned, "/bin/sh", NULL, NULL, arguments, environ) != 0) {
    return 1;
  }
  waitpid(spawned, &status, 0);
  printf("spawned: %d\n", WEXITSTATUS(status));
  return 0;
}
