// Words that the kernel writes on its own account: of mutexes that lend their owner's priority, and
// of robust ones that processes share, when an owner ends or executes another program.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_mutex_t lending;

static void* wait_for_it(void* unused) {
  (void)unused;
  pthread_mutex_lock(&lending);
  pthread_mutex_unlock(&lending);
  return 0;
}

static void lend(void) {
  pthread_mutexattr_t attributes;
  pthread_t threads[3];
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
  pthread_mutex_init(&lending, &attributes);
  pthread_mutex_lock(&lending);
  for (int i = 0; i < 3; ++i) {
    pthread_create(&threads[i], 0, wait_for_it, 0);
  }
  usleep(100000);
  printf("%x\n", *(unsigned*)&lending & 0xc0000000u);
  pthread_mutex_unlock(&lending);
  for (int i = 0; i < 3; ++i) {
    pthread_join(threads[i], 0);
  }
  printf("lent\n");
}

// The owner ends in one of several ways; the survivor finds the mutex marked.
static void abandon(int way) {
  pthread_mutex_t* mutex = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  pthread_mutexattr_t attributes;
  int ready[2];
  char byte;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(mutex, &attributes);
  if (pipe(ready) != 0) {
    abort();
  }
  pid_t child = fork();
  if (child == 0) {
    pthread_mutex_lock(mutex);
    if (write(ready[1], "x", 1) != 1) {
      _exit(1);
    }
    if (way == 0) {
      _exit(0);
    }
    if (way == 1) {
      raise(SIGTERM);
    }
    if (way == 3) {
      execl("/proc/self/exe", "futex_words", "nothing", NULL);
    }
    pause();
  }
  if (read(ready[0], &byte, 1) != 1) {
    abort();
  }
  if (way == 2) {
    kill(child, SIGKILL);
  }
  waitpid(child, 0, 0);
  printf("%x ", *(unsigned*)mutex & 0xc0000000u);
  int error = pthread_mutex_lock(mutex);
  printf("%s\n", error == EOWNERDEAD ? "abandoned" : error == 0 ? "free" : "?");
  pthread_mutex_consistent(mutex);
  pthread_mutex_unlock(mutex);
}

int main(int argc, char** argv) {
  (void)argv;
  if (argc > 1) {
    return 0;
  }
  setvbuf(stdout, 0, _IOLBF, 0);
  lend();
  for (int way = 0; way < 4; ++way) {
    abandon(way);
  }
  return 0;
}
