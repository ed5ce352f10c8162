// Calls that are recorded without a stop, in whatever may come between: other threads, signals,
// stops, calls that block, descriptors that become something else, files that get mapped, code that
// moves.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t alarms, children;
static int file;

static void count_alarm(int signal) {
  (void)signal;
  alarms += 1;
}

static void count_child(int signal) {
  (void)signal;
  children += 1;
}

static uint64_t mixed(uint64_t hash, const void* bytes, size_t length) {
  const unsigned char* at = bytes;
  for (size_t i = 0; i < length; ++i) {
    hash = (hash ^ at[i]) * 0x100000001b3;
  }
  return hash;
}

static uint64_t many_calls(int rounds) {
  uint64_t hash = 0xcbf29ce484222325;
  for (int i = 0; i < rounds; ++i) {
    unsigned char bytes[40];
    ssize_t n = pread(file, bytes, sizeof bytes, i * 7 % 4000);
    hash = mixed(hash, bytes, n > 0 ? (size_t)n : 0);
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    hash = mixed(hash, &now, sizeof now);
    struct stat status;
    hash ^= (uint64_t)fstat(file, &status) + (uint64_t)status.st_size;
    hash ^= (uint64_t)access("/nonexistent", R_OK) + (uint64_t)getppid();
    hash += (uint64_t)alarms;
  }
  return hash;
}

static void* call_in_thread(void* rounds) {
  return (void*)many_calls((int)(intptr_t)rounds);
}

static void* compute_in_thread(void* rounds) {
  uint64_t x = 1;
  for (long i = 0; i < (long)(intptr_t)rounds; ++i) {
    x = x * 6364136223846793005u + 1;
    if ((i & 0xfffff) == 0) {
      x ^= (uint64_t)getpid();
    }
  }
  return (void*)x;
}

static void threads(void) {
  pthread_t thread[3];
  pthread_create(&thread[0], NULL, call_in_thread, (void*)2000);
  pthread_create(&thread[1], NULL, compute_in_thread, (void*)30000000);
  pthread_create(&thread[2], NULL, call_in_thread, (void*)1500);
  for (int i = 0; i < 3; ++i) {
    void* result = NULL;
    pthread_join(thread[i], &result);
    printf("thread %d: %lx\n", i, (unsigned long)result);
  }
}

static void alarmed(void) {
  signal(SIGALRM, count_alarm);
  struct itimerval every = {{0, 1500}, {0, 1500}};
  setitimer(ITIMER_REAL, &every, NULL);
  uint64_t hash = many_calls(4000);
  memset(&every, 0, sizeof every);
  setitimer(ITIMER_REAL, &every, NULL);
  printf("alarmed: %lx, %d alarms\n", (unsigned long)hash, (int)alarms);
}

static void stopped(void) {
  signal(SIGCHLD, count_child);
  pid_t child = fork();
  if (child == 0) {
    printf("stopped: %lx\n", (unsigned long)many_calls(3000));
    fflush(stdout);
    _exit(3);
  }
  for (int i = 0; i < 12; ++i) {
    usleep(700);
    kill(child, SIGSTOP);
    usleep(300);
    kill(child, SIGCONT);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  printf("its status %x\n", status);
  signal(SIGCHLD, SIG_DFL);
}

// A signal that a call raises itself is delivered before the program goes on (F_NOTIFY of
// fcntl(2)).
static void notified(const char* directory) {
  alarms = 0;
  signal(SIGIO, count_alarm);
  int watched = open(directory, O_RDONLY);
  if (fcntl(watched, F_NOTIFY, DN_CREATE | DN_MULTISHOT) != 0) {
    printf("notified: not here\n");
    return;
  }
  int seen = 0;
  for (int i = 0; i < 20; ++i) {
    char name[200];
    snprintf(name, sizeof name, "%s/new%d", directory, i);
    int before = alarms;
    int fd = open(name, O_RDWR | O_CREAT, 0600);
    seen += alarms == before + 1;
    close(fd);
    unlink(name);
  }
  close(watched);
  printf("notified: %d of 20 at once\n", seen);
}

// A path that the call itself overwrites.
static void in_place(const char* directory) {
  char name[200];
  snprintf(name, sizeof name, "%s/link", directory);
  if (symlink("where it leads", name) != 0) {
    exit(1);
  }
  char path[200];
  memcpy(path, name, sizeof path);
  ssize_t n = readlink(path, path, sizeof path);
  printf("in place: %zd %.14s\n", n, path);
  unlink(name);
}

// A signal whose default action ends the process, in the middle of its calls.
static void ended(void) {
  pid_t child = fork();
  if (child == 0) {
    for (;;) {
      many_calls(10);
    }
  }
  usleep(3000);
  kill(child, SIGTERM);
  int status = 0;
  waitpid(child, &status, 0);
  printf("ended by %d\n", WTERMSIG(status));
}

// open(2) of a FIFO blocks until the other end is opened, which the other process does later.
static void blocking(const char* directory) {
  char name[200];
  snprintf(name, sizeof name, "%s/fifo", directory);
  mkfifo(name, 0600);
  pid_t child = fork();
  if (child == 0) {
    usleep(50000);
    int fd = open(name, O_WRONLY);
    dprintf(fd, "through a fifo");
    _exit(0);
  }
  char bytes[40] = {0};
  int fd = open(name, O_RDONLY);
  ssize_t n = read(fd, bytes, sizeof bytes);
  printf("blocking: %zd %s\n", n, bytes);
  close(fd);
  waitpid(child, NULL, 0);
  // What was a file is a pipe now, under the same number.
  int both[2];
  if (pipe(both) != 0) {
    exit(1);
  }
  int other = open(name, O_RDONLY | O_NONBLOCK);
  close(other);
  int was = dup(file);
  n = pread(was, bytes, 8, 0);
  n = pread(was, bytes, 8, 8);
  dup2(both[0], was);
  child = fork();
  if (child == 0) {
    usleep(20000);
    n = write(both[1], "through a pipe", 14);
    _exit(n == 14 ? 0 : 1);
  }
  close(both[1]);
  memset(bytes, 0, sizeof bytes);
  n = read(was, bytes, sizeof bytes);
  printf("blocking: %zd %s\n", n, bytes);
  waitpid(child, NULL, 0);
}

// A process that shares the memory, and has other descriptors.
static void shared_memory(void) {
  char bytes[16] = {0};
  int fd = dup(file);
  ssize_t n = pread(fd, bytes, 8, 0);
  n += pread(fd, bytes, 8, 16);
  pid_t child = vfork();
  if (child == 0) {
    close(fd);
    _exit(read(fd, bytes, 8) < 0 ? 5 : 6);
  }
  int status = 0;
  waitpid(child, &status, 0);
  n += pread(fd, bytes, 8, 24);
  printf("vfork: %zd %d\n", n, WEXITSTATUS(status));
}

// Writes to a file, first while nobody has it mapped.
static void mapped(const char* directory) {
  char name[200];
  snprintf(name, sizeof name, "%s/mapped", directory);
  int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
  char page[4096];
  memset(page, 'a', sizeof page);
  for (int i = 0; i < 4; ++i) {
    if (write(fd, page, sizeof page) != (ssize_t)sizeof page) {
      exit(1);
    }
  }
  char* shared = mmap(NULL, 4 * sizeof page, PROT_READ, MAP_SHARED, fd, 0);
  char before = shared[100];
  if (pwrite(fd, "b", 1, 100) != 1 || pwrite(fd, "c", 1, 5000) != 1) {
    exit(1);
  }
  printf("mapped: %c %c %c\n", before, shared[100], shared[5000]);
  munmap(shared, 4 * sizeof page);
}

// Other mappings where the recorder may have its own, and code that is made to move.
static void moved(void) {
  uint64_t hash = many_calls(20);
  void* place = (void*)0x7fffe8000000;
  char* page =
      mmap(place, 3 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  memset(page, 1, 3 << 20);
  hash ^= many_calls(20);
  printf("moved: %d %lx\n", page == place, (unsigned long)hash);
  munmap(page, 3 << 20);
}

static void confined(void) {
  pid_t child = fork();
  if (child == 0) {
    char bytes[8];
    prctl(PR_SET_SECCOMP, 1, 0, 0, 0); // the strict mode
    ssize_t n = read(file, bytes, sizeof bytes);
    n += write(1, "confined\n", 9);
    getppid();
    write(1, "not reached\n", 12);
    syscall(SYS_exit, (int)n);
  }
  int status = 0;
  waitpid(child, &status, 0);
  printf("confined: %x, mode %d\n", status, prctl(PR_GET_SECCOMP, 0, 0, 0, 0));
}

// getpid(2) as the C library would make it, on a page of its own.
long own_call(void);
__asm__("  .section .text.own_call, \"ax\", @progbits\n"
        "  .p2align 12\n"
        "  .globl own_call\n"
        "  .type own_call, @function\n"
        "own_call:\n"
        "  .cfi_startproc\n"
        "  mov $39, %eax\n"
        "  syscall\n"
        "  ret\n"
        "  .cfi_endproc\n"
        "  .size own_call, . - own_call\n"
        "  .p2align 12\n"
        "  .text\n");

static void show_code(const char* when) {
  const unsigned char* code = (const unsigned char*)(uintptr_t)own_call;
  const unsigned char expected[] = {0xb8, 39, 0, 0, 0, 0x0f, 0x05};
  int found = 0;
  for (int i = 0; i < 16; ++i) {
    found |= memcmp(code + i, expected, sizeof expected) == 0;
  }
  printf("%s: %d\n", when, found);
}

// Code that the program is about to look at, or to change, is as it was built.
static void code(void) {
  long pid = getpid();
  printf("calls %d", own_call() == pid);
  uintptr_t page = (uintptr_t)own_call & ~(uintptr_t)4095;
  mprotect((void*)page, 4096, PROT_READ);
  show_code(", without the right to be executed");
  mprotect((void*)page, 4096, PROT_READ | PROT_EXEC);
  printf("calls %d\n", own_call() == pid);
  pid_t child = fork();
  if (child == 0) {
    printf("in a child %d\n", own_call() == getpid() && own_call() != pid);
    fflush(stdout);
    _exit(0);
  }
  waitpid(child, NULL, 0);
}

// Alone: everything. With a number: so many rounds of calls. With "code" or "privileges": that.
int main(int count, char** arguments) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (count == 2 && strcmp(arguments[1], "code") == 0) {
    code();
    return 0;
  }
  if (count == 2 && strcmp(arguments[1], "privileges") == 0) {
    printf("at first %d\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    printf("set %d\n", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    return 0;
  }
  if (count == 2) {
    file = open(arguments[0], O_RDONLY);
    printf("%lx\n", (unsigned long)many_calls(atoi(arguments[1])));
    return 0;
  }
  char directory[] = "/tmp/buffered-XXXXXX";
  if (mkdtemp(directory) == NULL) {
    return 1;
  }
  char name[200];
  snprintf(name, sizeof name, "%s/file", directory);
  file = open(name, O_RDWR | O_CREAT, 0600);
  for (int i = 0; i < 1000; ++i) {
    dprintf(file, "%d,", i * i);
  }
  printf("alone: %lx\n", (unsigned long)many_calls(300));
  threads();
  alarmed();
  stopped();
  notified(directory);
  in_place(directory);
  ended();
  blocking(directory);
  shared_memory();
  mapped(directory);
  confined();
  moved();
  static const char* const names[] = {"file", "fifo", "mapped"};
  for (size_t i = 0; i < sizeof names / sizeof *names; ++i) {
    snprintf(name, sizeof name, "%s/%s", directory, names[i]);
    unlink(name);
  }
  rmdir(directory);
  return 0;
}
