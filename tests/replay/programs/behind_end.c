// What mappings of a file show behind its end, in its last page: they can be written to there, and
// what becomes of it when the file changes its size, or is written to the disk, is the file
// system's business.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { kPage = 4096, kSize = 2600, kPlaces = 6 };
static const int places[kPlaces] = {kSize - 1, kSize, 2800, 3500, 3900, kPage - 1};

static void require(int holds, const char* what) {
  if (!holds) {
    printf("%s: %s\n", what, strerror(errno));
    exit(1);
  }
}

static void show(const char* what, const volatile unsigned char* at) {
  printf(" %s", what);
  for (int i = 0; i < kPlaces; ++i) {
    printf(" %d", at[places[i]]);
  }
}

typedef long Change(int fd, unsigned char* map);

static long append(int fd, unsigned char* map) {
  (void)map;
  return pwrite(fd, "abc", 3, kSize);
}
static long write_behind(int fd, unsigned char* map) {
  (void)map;
  return pwrite(fd, "abc", 3, 3800);
}
static long write_far(int fd, unsigned char* map) {
  (void)map;
  return pwrite(fd, "abc", 3, 3 * kPage + 5);
}
static long write_over(int fd, unsigned char* map) {
  (void)map;
  static char bytes[2 * kPage];
  return pwrite(fd, bytes, sizeof bytes, 100);
}
static long lengthen(int fd, unsigned char* map) {
  (void)map;
  return ftruncate(fd, 3700);
}
static long lengthen_much(int fd, unsigned char* map) {
  (void)map;
  return ftruncate(fd, 2 * kPage + 9);
}
static long shorten(int fd, unsigned char* map) {
  (void)map;
  return ftruncate(fd, 1000) + ftruncate(fd, kPage);
}
static long same_size(int fd, unsigned char* map) {
  (void)map;
  return ftruncate(fd, kSize);
}
static long give_room(int fd, unsigned char* map) {
  (void)map;
  return fallocate(fd, 0, 0, 2 * kPage);
}
static long sync_file(int fd, unsigned char* map) {
  (void)map;
  return fsync(fd);
}
static long sync_data(int fd, unsigned char* map) {
  (void)map;
  return fdatasync(fd);
}
static long sync_map(int fd, unsigned char* map) {
  (void)fd;
  return msync(map, kPage, MS_SYNC);
}
static long map_again(int fd, unsigned char* map) {
  (void)map;
  unsigned char* other = mmap(NULL, 2 * kPage, PROT_READ, MAP_PRIVATE, fd, 0);
  require(other != MAP_FAILED, "mmap");
  show("again", other);
  return munmap(other, 2 * kPage);
}

static const struct {
  const char* name;
  Change* change;
} changes[] = {
    {"append", append},         {"write behind", write_behind}, {"write far", write_far},
    {"write over", write_over}, {"lengthen", lengthen},         {"lengthen much", lengthen_much},
    {"shorten", shorten},       {"same size", same_size},       {"give room", give_room},
    {"sync", sync_file},        {"sync data", sync_data},       {"sync the mapping", sync_map},
    {"map again", map_again},
};

static void change(const char* where, int fd, const char* name, Change* what) {
  static char bytes[kSize];
  memset(bytes, 1, sizeof bytes);
  require(fd >= 0 && write(fd, bytes, sizeof bytes) == (ssize_t)sizeof bytes, where);
  unsigned char* writes = mmap(NULL, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  unsigned char* reads = mmap(NULL, 2 * kPage, PROT_READ, MAP_PRIVATE, fd, 0);
  require(writes != MAP_FAILED && reads != MAP_FAILED, "mmap");
  for (int i = 1; i < kPlaces; ++i) {
    writes[places[i]] = (unsigned char)(i + 10);
  }
  printf("%s, %s:", where, name);
  show("before", reads);
  printf(" (%ld)", what(fd, writes));
  show("after", reads);
  writes[3600] = 99;
  printf(" %d\n", reads[3600]);
  require(munmap(writes, 2 * kPage) == 0 && munmap(reads, 2 * kPage) == 0 && close(fd) == 0,
          "munmap");
}

// Of a file that somebody else has mapped and written to there.
static void map_privately(const char* path) {
  for (int protection = PROT_READ; protection <= (PROT_READ | PROT_WRITE);
       protection += PROT_WRITE) {
    for (int again = 0; again < 2; ++again) {
      const int fd = open(path, O_RDONLY);
      unsigned char* map = mmap(NULL, kPage, protection, MAP_PRIVATE, fd, 0);
      require(map != MAP_FAILED, "mmap");
      show(protection == PROT_READ ? "read" : "written", map);
      if (protection != PROT_READ) {
        map[3600] = 99;
        printf(" %d", map[3600]);
      }
      require(munmap(map, kPage) == 0 && close(fd) == 0, "munmap");
    }
  }
  printf("\n");
}

// Argument: such a file.
int main(int argc, char** argv) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (argc > 1) {
    map_privately(argv[1]);
    return 0;
  }
  for (size_t i = 0; i < sizeof changes / sizeof *changes; ++i) {
    change("file", open("file", O_RDWR | O_CREAT | O_TRUNC, 0600), changes[i].name,
           changes[i].change);
    change("memory", (int)syscall(SYS_memfd_create, "memory", 0), changes[i].name,
           changes[i].change);
  }
  return 0;
}
