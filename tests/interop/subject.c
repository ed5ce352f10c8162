// A program with something to show in a debugger: threads in different calls, thread-local and
// global variables, deep and inlined calls, a handler that a signal interrupted.
//
// Writes "ready" to its standard output when every thread is where it shall be.

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { kThreads = 6 };

__thread uint64_t thread_number = 0;
uint64_t global_counter = 0x1122334455667788;
char global_text[4096] = "a text in the data segment";
uint64_t untouched[8192]; // .bss
static sem_t ready;
static volatile int go_on = 1;

static inline __attribute__((always_inline)) void wait_inlined(int number) {
  thread_number = 1000 + (uint64_t)number;
  sem_post(&ready);
  for (;;) {
    pause();
  }
}

__attribute__((noinline)) static int descend(int number, int depth) {
  volatile char room[64];
  memset((char*)room, depth, sizeof room);
  if (depth == 0) {
    wait_inlined(number);
  }
  return descend(number, depth - 1) + room[3];
}

__attribute__((noinline)) static void spin(int number) {
  thread_number = 1000 + (uint64_t)number;
  sem_post(&ready);
  while (go_on) {
  }
}

static void on_signal(int signal) {
  (void)signal;
  sem_post(&ready);
  for (;;) {
    pause();
  }
}

static void* run(void* argument) {
  const int number = (int)(intptr_t)argument;
  if (number == 1) {
    spin(number);
  } else if (number == 2) {
    signal(SIGUSR1, on_signal);
    thread_number = 1000 + (uint64_t)number;
    raise(SIGUSR1);
  } else {
    descend(number, number * 3);
  }
  return NULL;
}

static int compare(const void* a, const void* b) {
  (void)a;
  (void)b;
  thread_number = 77;
  puts("ready");
  fflush(stdout);
  while (go_on) {
    pause(); // below qsort(3), whose frame no debugger may lose
  }
  return 0;
}

// With an argument: memory that makes cores large in one way or another.
static int make_memory(const char* kind) {
  const size_t page = 4096;
  if (strcmp(kind, "mappings") == 0) { // 60,000 of them
    char* pages = mmap(NULL, 60000 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t i = 0; i < 60000; ++i) {
      pages[i * page] = (char)i;
      if (i % 2 != 0 && mprotect(pages + i * page, page, PROT_READ) != 0) {
        return 1;
      }
    }
  } else if (strcmp(kind, "sparse") == 0) { // 4 GiB, a page of every 16 MiB
    char* pages = mmap(NULL, (size_t)4 << 30, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    madvise(pages, (size_t)4 << 30, MADV_NOHUGEPAGE);
    for (size_t i = 0; i < 256; ++i) {
      pages[i << 24] = 's';
    }
  } else { // more than 65,534 segments: written and unwritten pages of a file in turn
    const size_t count = 66000;
    FILE* file = fopen("holes", "w+");
    if (file == NULL || ftruncate(fileno(file), (off_t)(count * page)) != 0) {
      return 1;
    }
    char* pages = mmap(NULL, count * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fileno(file), 0);
    for (size_t i = 0; i < count; i += 2) {
      pages[i * page] = 'w';
    }
    fclose(file);
  }
  return 0;
}

int main(int argc, char** argv) {
  if (argc > 1 && argv[1][0] != '<' && make_memory(argv[1]) != 0) {
    return 2;
  }
  sem_init(&ready, 0, 0);
  char* memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(memory, 'm', 1 << 18);
  for (int i = 1; i <= kThreads; ++i) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, (void*)(intptr_t)i) != 0) {
      return 1;
    }
  }
  for (int i = 0; i < kThreads; ++i) {
    while (sem_wait(&ready) != 0) {
    }
  }
  int two[2] = {2, 1};
  qsort(two, 2, sizeof two[0], compare);
  return 0;
}
