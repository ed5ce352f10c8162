// Programs without a name: a memfd, and a file that has been removed.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

static void execute(int to, const char* removed) {
  int from = open("/proc/self/exe", O_RDONLY);
  struct stat status;
  fstat(from, &status);
  for (off_t at = 0;
       at < status.st_size && sendfile(to, from, &at, (size_t)(status.st_size - at)) > 0;) {
  }
  if (removed != 0) { // nobody may have it open for writing
    close(to);
    to = open(removed, O_RDONLY | O_CLOEXEC);
    unlink(removed);
  }
  if (fork() == 0) {
    char* arguments[] = {"nameless", "again", 0};
    fexecve(to, arguments, environ);
    perror("fexecve");
    _exit(1);
  }
  int status_of_child = 0;
  wait(&status_of_child);
  printf("%d\n", status_of_child);
}

int main(int argc, char** argv) {
  setvbuf(stdout, 0, _IOLBF, 0);
  if (argc > 1) {
    printf("inner %s\n", argv[1]);
    return 0;
  }
  execute(memfd_create("program", MFD_CLOEXEC), 0);
  execute(open("removed.bin", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0700), "removed.bin");
  return 0;
}
