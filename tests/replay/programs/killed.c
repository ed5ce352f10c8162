// Kills processes that could run at that moment, and lets others run at once.
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static void* yield_for_ever(void* argument) {
  (void)argument;
  for (;;) {
    sched_yield();
  }
  return NULL;
}

int main(void) {
  int killed = 0;
  for (int i = 0; i < 60; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      if (i % 2 != 0) {
        pthread_t thread;
        pthread_create(&thread, NULL, yield_for_ever, NULL);
      }
      yield_for_ever(NULL);
    }
    for (int n = 0; n < i % 7; ++n) {
      sched_yield();
    }
    kill(child, SIGKILL);
    sched_yield();
    int status;
    waitpid(child, &status, 0);
    killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  }
  printf("%d killed\n", killed);
  return 0;
}
