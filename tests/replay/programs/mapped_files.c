// Files that are mapped, shared and privately, and changed in every way but through the mapping.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kPage = 4096 };

static int file_of(const char* name, int pages) {
  int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (fd < 0 || ftruncate(fd, pages * kPage) != 0) {
    abort();
  }
  return fd;
}

static int source(const char* text) {
  int fd = memfd_create("source", 0);
  if (write(fd, text, strlen(text)) < 0) {
    abort();
  }
  lseek(fd, 0, SEEK_SET);
  return fd;
}

static void show(const char* what, const volatile char* at) {
  printf("%s: ", what);
  for (int i = 0; i < 8; ++i) {
    putchar(at[i] != 0 ? at[i] : '.');
  }
  putchar('\n');
}

// All ways to write, each to a place of its own.
static void written(const char* name, int fd, const volatile char* map) {
  struct iovec io = {"vectored", 8};
  int pipes[2];
  loff_t at = 0;
  lseek(fd, 0, SEEK_SET);
  if (write(fd, "plain---", 8) != 8) {
    abort();
  }
  show("write", map);
  if (pwrite(fd, "placed--", 8, 100) != 8) {
    abort();
  }
  show("pwrite", map + 100);
  if (writev(fd, &io, 1) != 8) {
    abort();
  }
  show("writev", map + 8);
  if (pwritev(fd, &io, 1, 200) != 8) {
    abort();
  }
  show("pwritev", map + 200);
  if (pwritev2(fd, &io, 1, 300, 0) != 8) {
    abort();
  }
  show("pwritev2", map + 300);
  if (pwritev2(fd, &io, 1, -1, 0) != 8) {
    abort();
  }
  show("pwritev2 at the position", map + 16);
  int from = source("SENDFILE");
  lseek(fd, 400, SEEK_SET);
  if (sendfile(fd, from, 0, 8) != 8) {
    abort();
  }
  show("sendfile", map + 400);
  from = file_of("source.bin", 0); // within one file system
  if (write(from, "COPIED--", 8) != 8) {
    abort();
  }
  lseek(from, 0, SEEK_SET);
  at = 500;
  if (copy_file_range(from, 0, fd, &at, 8, 0) != 8) {
    perror("copy_file_range");
  }
  show("copy_file_range", map + 500);
  if (pipe(pipes) != 0 || write(pipes[1], "SPLICED-", 8) != 8) {
    abort();
  }
  at = 600;
  if (splice(pipes[0], 0, fd, &at, 8, 0) != 8) {
    abort();
  }
  show("splice", map + 600);
  if (truncate(name, 1000) != 0 || truncate(name, 1500) != 0) {
    abort();
  }
  int append = open(name, O_RDWR | O_APPEND);
  if (pwrite(append, "appended", 8, 0) != 8) {
    abort();
  }
  show("O_APPEND", map + 1500);
  if (pwritev2(fd, &io, 1, 0, RWF_APPEND) != 8) {
    abort();
  }
  show("RWF_APPEND", map + 1508);
  if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 8) != 0) {
    perror("punch");
  }
  show("a hole", map + 100);
  if (fork() == 0) {
    int other = open(name, O_RDWR);
    int more = source("A CHILD!");
    if (sendfile(other, more, 0, 8) != 8) {
      abort();
    }
    _exit(0);
  }
  wait(0);
  show("a child's sendfile", map);
  close(open(name, O_RDWR | O_TRUNC));
  if (ftruncate(fd, 2 * kPage) != 0) {
    abort();
  }
  show("O_TRUNC", map);
  close(append);
}

static void grown(void) {
  int fd = memfd_create("grown", 0);
  if (ftruncate(fd, 4 * kPage) != 0 || pwrite(fd, "a second page", 13, kPage) != 13) {
    abort();
  }
  char* map = mmap(0, kPage, PROT_READ, MAP_SHARED, fd, 0);
  map = mremap(map, kPage, 2 * kPage, MREMAP_MAYMOVE);
  show("mremap", map + kPage);
  // The same pages a second time.
  char* twice = mremap(map, 0, 2 * kPage, MREMAP_MAYMOVE);
  show("mremap of nothing", twice + kPage);
}

// Pages of a private mapping follow the file until the program has written to them.
static void followed(int shared) {
  int fd = file_of("followed.bin", 8);
  int to_child[2], to_parent[2];
  char byte = 0;
  if (pipe(to_child) != 0 || pipe(to_parent) != 0) {
    abort();
  }
  fflush(stdout);
  if (fork() == 0) {
    volatile char* map = mmap(0, 8 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    map[kPage + 1] = 'o'; // its own from now on
    if (write(to_parent[1], "x", 1) != 1) {
      _exit(1);
    }
    for (int i = 0; i < 16; ++i) {
      if (read(to_child[0], &byte, 1) != 1) {
        _exit(1);
      }
      printf("%d ", map[i % 8 * kPage + i]);
      fflush(stdout);
      if (write(to_parent[1], "x", 1) != 1) {
        _exit(1);
      }
    }
    printf("%c\n", map[kPage + 1]);
    fflush(stdout);
    _exit(0);
  }
  if (read(to_parent[0], &byte, 1) != 1) {
    abort();
  }
  char* map = shared ? mmap(0, 8 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : 0;
  for (int i = 0; i < 16; ++i) {
    char value = (char)(i * 7 + 1);
    if (shared) {
      map[i % 8 * kPage + i] = value;
    } else if (pwrite(fd, &value, 1, i % 8 * kPage + i) != 1) {
      abort();
    }
    if (write(to_child[1], "x", 1) != 1 || read(to_parent[0], &byte, 1) != 1) {
      abort();
    }
  }
  wait(0);
}

static void sparse(void) {
  const size_t size = (size_t)4 << 40;
  int fd = memfd_create("sparse", 0);
  if (ftruncate(fd, (off_t)size) != 0 || pwrite(fd, "far away", 8, (off_t)size / 2) != 8) {
    abort();
  }
  char* map = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED) {
    printf("no room for terabytes\n");
    return;
  }
  map[0] = 1;
  map[size - 1] = 2;
  show("far away", map + size / 2);
  if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)size / 2, kPage) != 0) {
    abort();
  }
  show("gone", map + size / 2);
  printf("%d %d\n", map[0], map[size - 1]);
  // A private look at nothing but holes and a page.
  fd = memfd_create("hollow", 0);
  if (ftruncate(fd, (off_t)size) != 0 || pwrite(fd, "far away", 8, (off_t)size / 2) != 8) {
    abort();
  }
  map = mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, (off_t)size / 2);
  show("hollow", map);
}

// What was opened for reading only cannot be made writable.
static void read_only(void) {
  int fd = file_of("readonly.bin", 1);
  int read_fd = open("readonly.bin", O_RDONLY);
  char* map = mmap(0, kPage, PROT_READ, MAP_SHARED, read_fd, 0);
  printf("read only: %d\n", mprotect(map, kPage, PROT_READ | PROT_WRITE));
  close(fd);
}

int main(void) {
  setvbuf(stdout, 0, _IOLBF, 0);
  int fd = file_of("mapped.bin", 2);
  written("mapped.bin", fd, mmap(0, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  fd = file_of("private.bin", 2);
  written("private.bin", fd, mmap(0, 2 * kPage, PROT_READ, MAP_PRIVATE, fd, 0));
  grown();
  followed(0);
  followed(1);
  sparse();
  read_only();
  unlink("source.bin");
  return unlink("mapped.bin") | unlink("private.bin") | unlink("followed.bin") |
         unlink("readonly.bin");
}
