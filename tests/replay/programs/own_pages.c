// Pages of private mappings that become their process's own without a write of the program, because
// the kernel is to have them ready for one: they do not show what becomes of the file. And mappings
// that fail when the kernel has already cleared their place.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kPage = 4096, kPages = 3, kPopulateWrite = 23 /* MADV_POPULATE_WRITE */ };

static void require(int holds, const char* what) {
  if (!holds) {
    printf("%s: %s\n", what, strerror(errno));
    exit(1);
  }
}

static int make(void) {
  static char bytes[kPages * kPage];
  memset(bytes, 'a', sizeof bytes);
  const int fd = open("file", O_RDWR | O_CREAT | O_TRUNC, 0600);
  require(fd >= 0 && write(fd, bytes, sizeof bytes) == (ssize_t)sizeof bytes, "file");
  return fd;
}

static void show(const char* what, const volatile char* at, int pages) {
  printf("%s:", what);
  for (int i = 0; i < pages; ++i) {
    printf(" %c%c", at[i * kPage + 1], at[i * kPage + 9]);
  }
  printf("\n");
}

static char* map(int fd, int flags) {
  char* at = mmap(NULL, kPages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | flags, fd, 0);
  require(at != MAP_FAILED, "mmap");
  return at;
}

static void populate(char* at) {
  // (Older kernels know no such advice, or have no room for locked memory.)
  if (madvise(at, 2 * kPage, kPopulateWrite) != 0) {
    printf("not populated\n");
  }
}

// `object`: the file is mapped shared from the beginning.
static void change(int object) {
  const int fd = make();
  char* shared = NULL;
  if (object) {
    shared = mmap(NULL, kPage, PROT_READ, MAP_SHARED, fd, 0);
    require(shared != MAP_FAILED, "mmap");
  }
  char* maps[4] = {map(fd, 0), map(fd, MAP_POPULATE), map(fd, 0), map(fd, 0)};
  maps[0][kPage] = 'w';
  populate(maps[2]);
  if (mlock(maps[3] + kPage, kPage) != 0) {
    printf("not locked\n");
  }
  char* left = map(fd, 0); // with an end where the file has none
  require(munmap(left + 2 * kPage, kPage) == 0, "munmap");
  if (madvise(left, 3 * kPage, kPopulateWrite) == 0) {
    printf("populated\n");
  }
  const pid_t child = fork();
  for (int i = 0; i < kPages; ++i) {
    require(pwrite(fd, child == 0 ? "XYZ" : "xyz", 3, i * kPage + (child == 0 ? 8 : 0)) == 3,
            "pwrite");
  }
  if (child != 0) {
    require(waitpid(child, NULL, 0) == child, "waitpid");
  }
  const char* names[4] = {"written", "populated", "advised", "locked"};
  for (int i = 0; i < 4; ++i) {
    show(names[i], maps[i], kPages);
  }
  show("left", left, 2);
  if (child == 0) {
    exit(0);
  }
  require(ftruncate(fd, kPage) == 0 && ftruncate(fd, kPages * kPage) == 0, "ftruncate");
  for (int i = 0; i < 4; ++i) {
    printf("%s: %d %d %d\n", names[i], maps[i][1], maps[i][kPage + 1], maps[i][2 * kPage + 1]);
    require(munmap(maps[i], kPages * kPage) == 0, "munmap");
  }
  require(munmap(left, 2 * kPage) == 0 && close(fd) == 0, "munmap");
  if (shared != NULL) {
    require(munmap(shared, kPage) == 0, "munmap");
  }
}

// The file cannot be mapped, and what was there may be gone, or empty.
static void fail(const char* path) {
  char* at = mmap(NULL, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  require(at != MAP_FAILED, "mmap");
  memset(at, 'm', kPage);
  const int fd = open(path, O_RDONLY);
  if (fd >= 0) {
    const void* mapped = mmap(at, kPage, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0);
    printf("%s: %s", path, mapped == MAP_FAILED ? strerror(errno) : "mapped");
    const pid_t child = fork();
    if (child == 0) {
      _exit(*(volatile char*)at);
    }
    int status = 0;
    require(waitpid(child, &status, 0) == child, "waitpid");
    printf(", %x\n", status);
    close(fd);
  }
  munmap(at, kPage);
}

int main(void) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  change(0);
  change(1);
  fail("/proc/uptime");
  fail("/proc/self/stat");
  fail("/sys/kernel/mm/transparent_hugepage/enabled");
  fail("/");
  return 0;
}
