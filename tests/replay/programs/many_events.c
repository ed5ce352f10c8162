// Makes so many system calls as its argument says, and computes a little in between.
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char** argv) {
  const long count = argc > 1 ? atol(argv[1]) : 100000;
  unsigned long hash = 1469598103934665603u;
  for (long i = 0; i < count; ++i) {
    struct stat status;
    switch (i % 4) {
    case 0:
      hash ^= (unsigned long)syscall(SYS_getppid);
      break;
    case 1:
      stat("/", &status);
      hash ^= (unsigned long)status.st_ino;
      break;
    case 2:
      hash ^= (unsigned long)lseek(0, 0, SEEK_CUR);
      break;
    default:
      hash ^= (unsigned long)syscall(SYS_gettid);
      break;
    }
    hash *= 1099511628211u;
  }
  printf("%ld calls, %016lx\n", count, hash);
  return 0;
}
