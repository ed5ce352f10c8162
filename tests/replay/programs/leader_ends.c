// The first thread ends before the others, which wait for it and go on: its end is seen in memory
// before anybody is told of it.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static pthread_t leader;

static void* other(void* unused) {
  (void)unused;
  usleep(50000);
  pthread_join(leader, 0);
  printf("joined\n");
  // The process's files are still there.
  int fd = memfd_create("file", 0);
  char* map = ftruncate(fd, 4096) == 0 ? mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0) : 0;
  if (pwrite(fd, "written", 7, 0) != 7) {
    abort();
  }
  printf("%s\n", map);
  fflush(stdout);
  exit(3);
}

int main(void) {
  pthread_t thread;
  leader = pthread_self();
  pthread_create(&thread, 0, other, 0);
  pthread_exit(0);
}
