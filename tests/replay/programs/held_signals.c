// Threads that compute with a shared number, without a lock, while signals come at any time: how
// far each of them has got when another one goes on shows in the number.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { kThreads = 4, kRounds = 600 };
static volatile uint64_t number = 1;
static volatile unsigned handled;

static void handler(int signal) {
  ++handled;
  number = number * 31 + (uint64_t)signal;
}

static void* compute(void* own) {
  const uint64_t id = (uint64_t)(uintptr_t)own;
  for (int i = 0; i < kRounds; ++i) {
    for (int k = 0; k < 200; ++k) {
      number = number * 6364136223846793005u + id;
    }
    switch ((number >> 33) % 4) {
    case 0:
      syscall(SYS_gettid);
      break;
    case 1:
      syscall(SYS_sched_yield);
      break;
    case 2:
      syscall(SYS_kill, getpid(), SIGUSR1);
      break;
    default: {
      const struct timespec moment = {0, 1000};
      syscall(SYS_nanosleep, &moment, NULL);
    }
    }
    if (i % 300 == 0) {
      printf("%u: %d, %016llx\n", (unsigned)id, i, (unsigned long long)number);
    }
  }
  return NULL;
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
  sigaction(SIGUSR1, &action, NULL);
  sigaction(SIGALRM, &action, NULL);
  const struct itimerval often = {{0, 300}, {0, 300}};
  setitimer(ITIMER_REAL, &often, NULL);
  pthread_t threads[kThreads];
  for (uintptr_t i = 0; i < kThreads; ++i) {
    pthread_create(&threads[i], NULL, compute, (void*)(i + 1));
  }
  for (int i = 0; i < kThreads; ++i) {
    pthread_join(threads[i], NULL);
  }
  const struct itimerval never = {{0, 0}, {0, 0}};
  setitimer(ITIMER_REAL, &never, NULL);
  printf("%016llx, signals: %u\n", (unsigned long long)number, handled);
  return 0;
}
