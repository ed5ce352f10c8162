// Makes code that reads the time-stamp counter in memory that is writable and executable at once:
// writes it, has the kernel write it, writes beside it while it runs, moves it, and leaves it to
// another process and to a thread.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kPage = 4096 };

// rdtsc; shl $32, %rdx; or %rdx, %rax; ret
static const unsigned char kCode[] = {0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0, 0xc3};
// The same, which also stores the low half 32 bytes behind its beginning, in its own page:
// rdtsc; mov %eax, 24(%rip); shl $32, %rdx; or %rdx, %rax; ret
static const unsigned char kStoring[] = {0x0f, 0x31, 0x89, 0x05, 0x18, 0x00, 0x00, 0x00,
                                         0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0, 0xc3};

typedef uint64_t (*Function)(void);

static Function at(unsigned char* place) {
  Function function;
  memcpy(&function, &place, sizeof function);
  return function;
}

static void call(const char* what, unsigned char* place) {
  const uint64_t first = at(place)();
  printf("%s: %llu %llu\n", what, (unsigned long long)first, (unsigned long long)at(place)());
}

static void* in_thread(void* place) {
  call("in a thread", place);
  return NULL;
}

static void require(int condition, const char* what) {
  if (!condition) {
    perror(what);
    exit(1);
  }
}

int main(void) {
  unsigned char* page =
      mmap(NULL, 2 * kPage, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  require(page != MAP_FAILED, "mmap");
  for (int round = 0; round < 3; ++round) {
    unsigned char* place = page + (size_t)round * 64;
    memcpy(place, kCode, sizeof kCode);
    call("written", place);
  }

  unsigned char* storing = page + 256;
  memcpy(storing, kStoring, sizeof kStoring);
  for (int round = 0; round < 3; ++round) {
    const uint64_t now = at(storing)();
    uint32_t stored;
    memcpy(&stored, storing + 32, sizeof stored);
    printf("stores: %llu %s\n", (unsigned long long)now,
           stored == (uint32_t)now ? "which is there" : "which is not there");
  }

  int ends[2];
  require(pipe(ends) == 0, "pipe");
  call("before read", page);
  require(write(ends[1], kCode, sizeof kCode) == sizeof kCode, "write");
  require(read(ends[0], page + 512, sizeof kCode) == sizeof kCode, "read");
  call("read", page + 512);
  require(write(ends[1], kCode, sizeof kCode) == sizeof kCode, "write");
  const struct iovec parts = {page + 1024, sizeof kCode};
  require(readv(ends[0], &parts, 1) == sizeof kCode, "readv");
  call("read into parts", page + 1024);

  // Over the end of a page.
  memcpy(page + kPage - 1, kCode, sizeof kCode);
  call("over the end of a page", page + kPage - 1);

  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    memcpy(page + 2048, kCode, sizeof kCode);
    call("in a child", page + 2048);
    call("in a child, its parent's", page);
    fflush(stdout);
    _exit(0);
  }
  require(child > 0 && waitpid(child, NULL, 0) == child, "fork");

  memcpy(page + 2560, kCode, sizeof kCode);
  pthread_t thread;
  require(pthread_create(&thread, NULL, in_thread, page + 2560) == 0, "pthread_create");
  pthread_join(thread, NULL);
  call("after the thread", page + 2560);

  unsigned char* moved = mremap(page, 2 * kPage, 4 * kPage, MREMAP_MAYMOVE);
  require(moved != MAP_FAILED, "mremap");
  call("moved", moved);
  memcpy(moved + 3 * kPage, kCode, sizeof kCode);
  call("in what has come to it", moved + 3 * kPage);
  require(mprotect(moved, kPage, PROT_READ | PROT_EXEC) == 0, "mprotect");
  call("executable only", moved);
  require(mprotect(moved, kPage, PROT_READ | PROT_WRITE | PROT_EXEC) == 0, "mprotect");
  memcpy(moved + 64, kCode, sizeof kCode);
  call("writable again", moved + 64);
  return 0;
}
