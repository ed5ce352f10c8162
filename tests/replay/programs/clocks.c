// Reads what no two runs have in common: clocks, the time-stamp counter, random numbers, ids.
#include <stdio.h>
#include <sys/random.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

int main(void) {
  struct timespec now;
  struct timeval day;
  unsigned long random = 0;
  for (int i = 0; i < 20; ++i) {
    clock_gettime(CLOCK_MONOTONIC, &now);
    gettimeofday(&day, NULL);
    if (getrandom(&random, sizeof random, 0) != sizeof random) {
      return 1;
    }
    unsigned processor = 0;
    const unsigned long counter = __rdtsc();
    const unsigned long second = __rdtscp(&processor);
    printf("%ld.%09ld %ld.%06ld %ld %016lx %lu %lu %d %d\n", (long)now.tv_sec, now.tv_nsec,
           (long)day.tv_sec, (long)day.tv_usec, (long)time(NULL), random, counter,
           second - counter, getpid(), getppid());
  }
  return 0;
}
