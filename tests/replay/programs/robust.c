// Threads that end in every way: by return, while others wait for them, holding a robust mutex, and
// by the end of the process.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static pthread_mutex_t mutex;

static void* hold(void* argument) {
  (void)argument;
  pthread_mutex_lock(&mutex);
  return NULL;
}

static void* wait_for_ever(void* argument) {
  (void)argument;
  pause();
  return NULL;
}

int main(void) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&mutex, &attributes);
  pthread_t thread;
  pthread_create(&thread, NULL, hold, NULL);
  pthread_join(thread, NULL);
  const int result = pthread_mutex_lock(&mutex);
  printf("%s\n", result == EOWNERDEAD ? "the owner died" : "?");
  pthread_mutex_consistent(&mutex);
  pthread_mutex_unlock(&mutex);
  for (int i = 0; i < 3; ++i) {
    pthread_create(&thread, NULL, wait_for_ever, NULL);
  }
  usleep(1000);
  printf("leaving\n");
  return 9;
}
