// Shared memory between parent and child: anonymous, a file that is written to as well, a memfd and
// a System V segment.
#define _GNU_SOURCE
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

struct Board {
  sem_t ping, pong;
  int count;
  char text[64];
};

int main(void) {
  struct Board* board =
      mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  sem_init(&board->ping, 1, 0);
  sem_init(&board->pong, 1, 0);
  char name[] = "/tmp/shared-XXXXXX";
  const int file = mkstemp(name);
  unlink(name);
  if (ftruncate(file, 8192) != 0 || pwrite(file, "from the file", 14, 100) != 14) {
    return 1;
  }
  char* mapped = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  const int memory = memfd_create("board", 0);
  if (ftruncate(memory, 4096) != 0) {
    return 1;
  }
  int* numbers = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
  const int segment = shmget(IPC_PRIVATE, 4096, 0600);
  long* longs = shmat(segment, NULL, 0);
  shmctl(segment, IPC_RMID, NULL);
  const pid_t child = fork();
  if (child == 0) {
    for (int i = 0; i < 100; ++i) {
      sem_wait(&board->ping);
      board->count += i;
      numbers[i] = board->count;
      longs[i] = numbers[i] * 2;
      snprintf(mapped + 200, 50, "round %d", i);
      sem_post(&board->pong);
    }
    if (pwrite(file, "written by the child", 21, 4096) != 21) {
      _exit(1);
    }
    snprintf(board->text, sizeof board->text, "child says: %s", mapped + 100);
    _exit(7);
  }
  long sum = 0;
  for (int i = 0; i < 100; ++i) {
    sem_post(&board->ping);
    sem_wait(&board->pong);
    sum += numbers[i] + longs[i];
  }
  int status = 0;
  waitpid(child, &status, 0);
  printf("%s; count %d, sum %ld, %s, %s, status %d\n", board->text, board->count, sum,
         mapped + 200, mapped + 4096, WEXITSTATUS(status));
  munmap(mapped, 8192);
  shmdt(longs);
  return 0;
}
