// A thread that is not the first one executes a program; the others end by that.
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static void* sleeper(void* argument) {
  (void)argument;
  pause();
  return NULL;
}

static void* execute(void* argument) {
  char** arguments = argument;
  execv(arguments[0], arguments);
  return NULL;
}

int main(void) {
  char* arguments[] = {"/bin/echo", "executed by a thread", NULL};
  pthread_t threads[3];
  pthread_create(&threads[0], NULL, sleeper, NULL);
  pthread_create(&threads[1], NULL, sleeper, NULL);
  pthread_create(&threads[2], NULL, execute, arguments);
  pthread_join(threads[0], NULL);
  return 1;
}
