// Calls on memory that fail with half of their work done, and advice that takes pages away.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { kPage = 4096 };

static char* pages(int count, int hole) {
  char* at =
      mmap(0, (size_t)count * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(at, 7, (size_t)count * kPage);
  if (hole >= 0) {
    munmap(at + hole * kPage, kPage);
  }
  return at;
}

static int readable(const char* at) {
  return access(at, F_OK) != 0 && errno != EFAULT;
}
static int writable(char* at) {
  return syscall(SYS_clock_gettime, 1, at) == 0;
}

static void say(const char* what, long r, const char* at, int count) {
  printf("%s: %ld,", what, r < 0 ? (long)-errno : r);
  for (int i = 0; i < count; ++i) {
    if (readable(at + i * kPage)) {
      printf(" %d", at[i * kPage + 100]);
    } else {
      printf(" -");
    }
  }
  printf("\n");
}

int main(void) {
  char* p = pages(4, 2);
  say("madvise over a hole", madvise(p, 4 * kPage, MADV_DONTNEED), p, 4);
  p = pages(4, 0);
  say("a hole at first", madvise(p, 4 * kPage, MADV_DONTNEED), p, 4);
  p = pages(4, -1);
  if (mlock(p + 2 * kPage, kPage) == 0) {
    say("locked", madvise(p, 4 * kPage, MADV_DONTNEED), p, 4);
    say("locked, freed", madvise(p, 4 * kPage, MADV_FREE), p, 4);
    say("locked or not", madvise(p, 4 * kPage, 24 /* MADV_DONTNEED_LOCKED */), p, 4);
    munlock(p, 4 * kPage);
  }
  p = pages(4, 2);
  say("mprotect over a hole", mprotect(p, 4 * kPage, PROT_NONE), p, 4);
  p = pages(4, 2);
  long r = mprotect(p, 4 * kPage, PROT_READ);
  printf("read only: %ld %d %d %d\n", r, writable(p), writable(p + kPage), writable(p + 3 * kPage));
  p = pages(4, -1);
  say("munmap", munmap(p + kPage, kPage), p, 4);
  say("munmap of nothing", munmap(p + 1, kPage), p, 4);
  p = pages(4, -1);
  struct iovec list[2] = {{p, kPage}, {p + 2 * kPage, kPage}};
  int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
  say("process_madvise", syscall(SYS_process_madvise, self, list, 2, MADV_DONTNEED, 0), p, 4);
  p = pages(4, -1);
  say("MADV_FREE", madvise(p, 2 * kPage, MADV_FREE) == 0, p + 2 * kPage, 2);
  p = pages(4, -1);
  r = madvise(p + kPage, kPage, 102 /* MADV_GUARD_INSTALL */);
  say("a guard", r, p, 4);
  r = madvise(p + kPage, kPage, 103 /* MADV_GUARD_REMOVE */);
  say("none", r, p, 4);
  say("MADV_COLD", madvise(p, 4 * kPage, 20), p, 4);
  say("MADV_PAGEOUT", madvise(p, 4 * kPage, 21), p, 4);
  say("MADV_POPULATE_READ", madvise(p, 4 * kPage, 22), p, 4);
  say("MADV_POPULATE_WRITE", madvise(p, 4 * kPage, 23), p, 4);
  say("MADV_COLLAPSE", madvise(p, 4 * kPage, 25) * 0, p, 4);
  say("MADV_HWPOISON", madvise(p, kPage, 100), p, 4);
  // Two mappings in one call, which newer kernels allow.
  p = pages(4, -1);
  mprotect(p, 2 * kPage, PROT_READ);
  char* to = mmap(0, 4 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  char* moved = mremap(p, 4 * kPage, 4 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, to);
  say("mremap of two", moved == to ? 0 : -1, to, 4);
  p = pages(2, -1);
  moved = (char*)syscall(SYS_mremap, p, 2 * kPage, 2 * kPage,
                         MREMAP_MAYMOVE | 4 /* MREMAP_DONTUNMAP */, 0);
  say("moved", moved != MAP_FAILED, moved, 2);
  say("left", 0, p, 2);
  p = pages(4, 1);
  to = pages(4, -1);
  moved = mremap(p, 4 * kPage, 4 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, to);
  say("mremap with a hole", moved == to ? 0 : -1, to, 4);
  p = pages(3, -1);
  if (syscall(462 /* mseal */, p + kPage, kPage, 0) == 0) {
    say("sealed", munmap(p, 3 * kPage), p, 3);
    say("sealed", mprotect(p + kPage, kPage, PROT_NONE), p, 3);
  }
  return 0;
}
