// Small files that are mapped privately for reading, which a recorder need not stop for, and all
// that makes a difference afterwards: their files change, are mapped shared, become shorter; the
// mappings are written to, moved, cut, inherited, covered; descriptors come and go; paths are no
// paths.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/times.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { kPage = 4096 };

static void require(int holds, const char* what) {
  if (!holds) {
    printf("%s: %s\n", what, strerror(errno));
    exit(1);
  }
}

static void write_file(const char* name, const char* text, size_t length) {
  int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  require(fd >= 0 && write(fd, text, length) == (ssize_t)length && close(fd) == 0, name);
}

static const volatile char* map_file(const char* name, size_t length) {
  int fd = open(name, O_RDONLY | O_CLOEXEC);
  struct stat status;
  require(fd >= 0 && fstat(fd, &status) == 0, name);
  void* map =
      mmap(NULL, length != 0 ? length : (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
  require(map != MAP_FAILED && close(fd) == 0, "mmap");
  return map;
}

static void show(const char* what, const volatile char* at) {
  printf("%s: ", what);
  for (int i = 0; i < 10; ++i) {
    putchar(at[i] != 0 ? at[i] : '.');
  }
  putchar('\n');
}

static sigjmp_buf back;
static void leave(int signal) {
  siglongjmp(back, signal);
}
static int faults(const volatile char* at) {
  struct sigaction action = {.sa_handler = leave};
  sigaction(SIGBUS, &action, NULL);
  sigaction(SIGSEGV, &action, NULL);
  int signal = sigsetjmp(back, 1);
  if (signal == 0) {
    (void)*at;
  }
  return signal;
}

static void many(int rounds) {
  uint64_t sum = 0;
  for (int i = 0; i < rounds; ++i) {
    char name[16];
    snprintf(name, sizeof name, "many%d", i % 7);
    if (i < 7) {
      char text[600];
      memset(text, 'a' + i, sizeof text);
      write_file(name, text, (size_t)(i * 90 + 1));
    }
    int fd = open(name, O_RDONLY);
    struct stat status;
    struct termios terminal;
    require(fd >= 0 && fstat(fd, &status) == 0, name);
    sum += (uint64_t)ioctl(fd, TCGETS, &terminal) * (uint64_t)errno;
    const char* map = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    for (off_t at = 0; at < status.st_size; ++at) {
      sum = sum * 31 + (unsigned char)map[at];
    }
    sum += (uint64_t)((uintptr_t)map % kPage);
    require(munmap((void*)map, (size_t)status.st_size) == 0, "munmap");
  }
  printf("many: %llu\n", (unsigned long long)sum);
}

static void files_that_change(void) {
  char text[3 * kPage];
  memset(text, 'x', sizeof text);
  write_file("own", text, sizeof text);
  const volatile char* map = map_file("own", 0);
  show("mapped", map);
  int fd = open("own", O_RDWR);
  require(pwrite(fd, "written---", 10, 0) == 10, "pwrite");
  show("written by its process", map);
  require(pwrite(fd, "behind----", 10, 2 * kPage) == 10, "pwrite");
  show("behind that", map + 2 * kPage);

  write_file("other", text, sizeof text);
  const volatile char* second = map_file("other", 0);
  pid_t child = fork();
  if (child == 0) {
    int own = open("other", O_RDWR);
    require(pwrite(own, "by a child", 10, kPage) == 10, "pwrite");
    show("in the child", second + kPage);
    _exit(0);
  }
  waitpid(child, NULL, 0);
  show("in its parent", second + kPage);

  // Shared by somebody, after it was mapped privately, and before.
  char* shared = mmap(NULL, sizeof text, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  require(shared != MAP_FAILED, "mmap");
  memcpy(shared + 20, "stored----", 10);
  show("stored by a shared mapping", map + 20);
  const volatile char* late = map_file("own", 0);
  memcpy(shared + 40, "later-----", 10);
  show("mapped when it was shared", late + 20);
  show("stored later", late + 40);
  show("in the first one, too", map + 40);
  munmap((void*)late, sizeof text);

  // A descriptor that may write was opened before.
  int made = open("made", O_RDWR | O_CREAT | O_EXCL, 0600);
  require(made >= 0 && write(made, text, 100) == 100, "write");
  void* of_made = mmap(NULL, 100, PROT_READ, MAP_PRIVATE, made, 0);
  require(pwrite(made, "by the same", 10, 0) == 10, "pwrite");
  show("by the same descriptor", of_made);
  require(ftruncate(made, 0) == 0, "ftruncate");
  printf("shorter: signal %d\n", faults(of_made));
  require(ftruncate(made, 50) == 0, "ftruncate");
  show("longer again", of_made);
  close(made);
  unlink("made");
  show("without a name", of_made);
  close(fd);
}

static void mappings_that_change(void) {
  char text[4 * kPage];
  memset(text, 'm', sizeof text);
  for (int i = 0; i < 4; ++i) {
    text[i * kPage] = (char)('0' + i);
  }
  write_file("pages", text, sizeof text);
  char* map = (char*)map_file("pages", 0);
  printf("read-only: signal %d\n", faults(map) == 0 ? 0 : -1);
  require(mprotect(map, sizeof text, PROT_READ | PROT_WRITE) == 0, "mprotect");
  memcpy(map + kPage, "own page--", 10);
  int fd = open("pages", O_RDWR);
  require(pwrite(fd, "file page-", 10, 2 * kPage) == 10, "pwrite");
  require(pwrite(fd, "not seen--", 10, kPage) == 10, "pwrite");
  show("its own page", map + kPage);
  show("page of the file", map + 2 * kPage);
  close(fd);
  require(munmap(map + 3 * kPage, kPage) == 0, "munmap");
  printf("cut: signal %d\n", faults(map + 3 * kPage));
  char* moved = mremap(map, 3 * kPage, 5 * kPage, MREMAP_MAYMOVE);
  require(moved != MAP_FAILED, "mremap");
  show("moved", moved + kPage);
  // What was mapped there before is not remembered any more.
  char* again = mmap(moved, 2 * kPage, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  require(again == moved, "mmap");
  show("covered", moved);
  require(munmap(moved, 5 * kPage) == 0, "munmap");

  // What it shows more of its file, and of what is no file any more.
  char* grown = mremap((void*)map_file("pages", kPage), kPage, 6 * kPage, MREMAP_MAYMOVE);
  require(grown != MAP_FAILED, "mremap");
  show("grown", grown + 3 * kPage);
  printf("grown beyond the end: signals %d %d\n", faults(grown + 3 * kPage),
         faults(grown + 4 * kPage));
  char* whole = mremap((void*)map_file("pages", 0), 4 * kPage, 5 * kPage, MREMAP_MAYMOVE);
  require(whole != MAP_FAILED, "mremap");
  printf("the whole: signals %d %d\n", faults(whole + 3 * kPage), faults(whole + 4 * kPage));

  write_file("quiet", text, sizeof text); // nothing happens to it
  char* quiet = (char*)map_file("quiet", 0);
  require(madvise(quiet + kPage, 2 * kPage, MADV_DONTNEED) == 0, "madvise");
  show("given up", quiet + kPage);
  write_file("poked", text, sizeof text);
  char* poked = (char*)map_file("poked", 0);
  int memory = open("/proc/self/mem", O_RDWR);
  if (pwrite(memory, "poked-----", 10, (off_t)(uintptr_t)(poked + 2 * kPage)) == 10) {
    fd = open("poked", O_RDWR);
    require(pwrite(fd, "after-----", 10, 3 * kPage) == 10, "pwrite");
    require(pwrite(fd, "not seen--", 10, 2 * kPage) == 10, "pwrite");
    close(fd);
    show("poked", poked + 2 * kPage);
    show("behind that", poked + 3 * kPage);
  }
  close(memory);

  const volatile char* part = map_file("pages", kPage);
  show("a part", part);
  require(madvise((void*)part, kPage, MADV_DONTNEED) == 0, "madvise");
  show("given up", part);
  require(munmap((void*)part, 1) == 0, "munmap");
  printf("unmapped: signal %d\n", faults(part));
  fd = open("pages", O_RDONLY);
  const volatile char* longer = mmap(NULL, 6 * kPage, PROT_READ, MAP_PRIVATE, fd, 0);
  printf("behind the end: signals %d %d\n", faults(longer + 3 * kPage), faults(longer + 4 * kPage));
  printf("no mapping: %d", mmap(NULL, 0, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? errno : 0);
  close(fd);
  fd = open("pages", O_WRONLY);
  printf(" %d", mmap(NULL, 10, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? errno : 0);
  close(fd);
  printf(" %d", mmap(NULL, 10, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? errno : 0);
  fd = open(".", O_RDONLY);
  printf(" %d", mmap(NULL, 10, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED ? errno : 0);
  close(fd);
  write_file("empty", "", 0);
  fd = open("empty", O_RDONLY);
  const volatile char* nothing = mmap(NULL, 10, PROT_READ, MAP_PRIVATE, fd, 0);
  printf(" empty: signal %d\n", faults(nothing));
  close(fd);

  // A program's first pages, and memory that belongs to nobody.
  fd = open("/proc/self/exe", O_RDONLY);
  const volatile char* program = mmap(NULL, 2 * kPage, PROT_READ, MAP_PRIVATE, fd, 0);
  printf("program: %d %c%c%c\n", program[0], program[1], program[2], program[3]);
  close(fd);
  char* anonymous[40];
  for (int i = 0; i < 40; ++i) {
    anonymous[i] = mmap(NULL, (size_t)(i % 3 + 1) * kPage, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    anonymous[i][0] = (char)i;
  }
  for (int i = 39; i >= 0; --i) {
    require(munmap(anonymous[i], (size_t)(i % 3 + 1) * kPage) == 0, "munmap");
  }
  printf("anonymous: signal %d\n", faults(anonymous[7]));
}

// A descriptor is what it is now, however it was known before.
static void descriptors(void) {
  write_file("one", "first file", 10);
  char text[16] = {0};
  for (int i = 0; i < 3; ++i) {
    int fd = open("one", O_RDONLY);
    require(read(fd, text, 10) == 10, "read");
    int pipes[2];
    require(pipe(pipes) == 0 && dup2(pipes[0], fd) == fd, "dup2");
    require(write(pipes[1], "from a pipe", 10) == 10, "write");
    memset(text, 0, sizeof text);
    require(read(fd, text, 10) == 10, "read");
    close(pipes[0]);
    close(pipes[1]);
    close(fd);
  }
  show("read last", text);
  int twice = open("one", O_RDONLY);
  require(close(twice) == 0 && close(twice) != 0, "close");
  printf("closed: %d %d\n", errno, read(twice, text, 1) < 0 ? errno : 0);
  int appended = open("log", O_WRONLY | O_CREAT | O_EXCL | O_APPEND, 0600);
  require(write(appended, "one two ", 8) == 8 && write(appended, "three four", 10) == 10, "write");
  show("appended", map_file("log", 0) + 4);
  require(write(appended, "------ five", 11) == 11, "write");
  close(appended);
  show("and read", map_file("log", 0) + 8);
}

static void names(void) {
  const char* volatile nowhere = (const char*)8;
  printf("%d", mkdir("d", 0700));
  printf(" %d", mkdir("d", 0700) == 0 ? 0 : errno);
  printf(" %d", rename("one", "d/two") == 0 ? 0 : errno);
  printf(" %d", rename("one", nowhere) == 0 ? 0 : errno);
  printf(" %d", link("nonexistent", nowhere) == 0 ? 0 : errno);
  printf(" %d", link("d/two", "three") == 0 ? 0 : errno);
  printf(" %d", symlink("d", "link") == 0 ? 0 : errno);
  printf(" %d", symlink(nowhere, "link") == 0 ? 0 : errno);
  printf(" %d", chdir("link") == 0 ? 0 : errno);
  printf(" %d", access("two", R_OK) == 0 ? 0 : errno);
  printf(" %d", chdir(nowhere) == 0 ? 0 : errno);
  int up = open("..", O_RDONLY | O_DIRECTORY);
  printf(" %d", fchdir(up) == 0 ? 0 : errno);
  printf(" %d", unlinkat(up, "three", 0) == 0 ? 0 : errno);
  printf(" %d", renameat(up, "link", up, "gone") == 0 ? 0 : errno);
  printf(" %d", chmod("d/two", 0400) == 0 ? 0 : errno);
  printf(" %d", fchmodat(up, nowhere, 0400, 0) == 0 ? 0 : errno);
  close(up);
  printf(" %d", rmdir("d") == 0 ? 0 : errno);
  printf(" %o %o\n", umask(027), umask(022));
  struct rusage usage;
  struct sysinfo system;
  struct statfs space;
  struct statx extended;
  struct tms ticks;
  require(getrusage(RUSAGE_SELF, &usage) == 0 && sysinfo(&system) == 0 &&
              statfs(".", &space) == 0 &&
              statx(AT_FDCWD, "d/two", 0, STATX_BASIC_STATS, &extended) == 0 && times(&ticks) != -1,
          "asking");
  printf("asked: %u %d\n", extended.stx_mode & 0777, statfs(nowhere, &space) == 0 ? 0 : errno);
}

int main(int count, char** words) {
  char place[] = "small-XXXXXX";
  require(mkdtemp(place) != NULL && chdir(place) == 0, "mkdtemp");
  many(count > 1 ? atoi(words[1]) : 50);
  if (count == 1) {
    files_that_change();
    mappings_that_change();
    descriptors();
    names();
  }
  fflush(stdout);
  if (chdir("..") == 0) {
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", place);
    return system(command) == 0 ? 0 : 1;
  }
  return 1;
}
