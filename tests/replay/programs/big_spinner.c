// A thread of a process with much memory computes while another one wants to run, several times.
// Then waits for the end of its input and prints more than a pipe holds.
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_int flag;
static unsigned long spins;

static void* spin(void* argument) {
  (void)argument;
  while (atomic_load(&flag) == 0) {
    ++spins;
  }
  return NULL;
}

int main(int argc, char** argv) {
  const long size = argc > 1 ? atol(argv[1]) : 1 << 20;
  char* memory = malloc((size_t)size);
  if (memory == NULL) {
    return 1;
  }
  for (long i = 0; i < size; i += 4096) {
    *(long*)(memory + i) = i + 1;
  }
  pthread_t thread;
  pthread_create(&thread, NULL, spin, NULL);
  for (int i = 0; i < 3; ++i) {
    usleep(1000);
  }
  atomic_store(&flag, 1);
  pthread_join(thread, NULL);
  long sum = 0;
  for (long i = 0; i < size; i += 4096) {
    sum += *(long*)(memory + i);
  }
  printf("spun %d, %ld\n", spins > 0, sum);
  fflush(stdout);
  char byte;
  while (read(0, &byte, 1) > 0) {
  }
  for (int i = 0; i < 10000; ++i) {
    printf("line %d of many, so that a pipe is full\n", i);
  }
  return 0;
}
