// Makes processes and threads, which compute and wait for each other, several times over.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void* count(void* argument) {
  volatile unsigned long* sum = argument;
  for (int i = 0; i < 20000; ++i) {
    *sum += (unsigned long)i;
  }
  return NULL;
}

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? atoi(argv[1]) : 10;
  unsigned long total = 0;
  for (int i = 0; i < rounds; ++i) {
    pthread_t thread;
    unsigned long sum = 0;
    if (pthread_create(&thread, NULL, count, &sum) != 0) {
      return 1;
    }
    const pid_t child = i % 2 == 0 ? fork() : vfork();
    if (child == 0) {
      if (i % 4 == 3) {
        execl("/bin/true", "true", (char*)NULL);
      }
      _exit(i & 3);
    }
    int status = 0;
    waitpid(child, &status, 0);
    pthread_join(thread, NULL);
    total += sum + (unsigned long)WEXITSTATUS(status);
    printf("round %d, %lu\n", i, total);
    fflush(stdout);
  }
  return 0;
}
