// Beginning of the programs that rows_test.py makes: each makes real calls one after the other, and
// prints what they returned and a hash of all that they could have written.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

// What calls write to. A and B lie in pages of their own.
static unsigned char A[16384] __attribute__((aligned(4096)));
static char* M; // three pages, mapped anew for each call
static char* S; // a page of the file `sf`, mapped shared
static char* V; // a page of the file `pf`, mapped privately
static int file, sf, pf, p[2], s[2], pm, pt, ep, tf, pid_fd;
static struct iovec iov[3];
static struct msghdr msg;
static struct mmsghdr mm[2];
static const char* const T = "calls.txt";

#define C(...) syscall(N, __VA_ARGS__)
// As in the row, or the first of its numbers.
#define SEL ((long)SELECTOR)
#define CHILD(...)                                                                                 \
  ({                                                                                               \
    int status_ = -1;                                                                              \
    fflush(stdout);                                                                                \
    pid_t child_ = fork();                                                                         \
    if (child_ == 0) {                                                                             \
      __VA_ARGS__;                                                                                 \
      _exit(7);                                                                                    \
    }                                                                                              \
    waitpid(child_, &status_, 0);                                                                  \
    (long)status_;                                                                                 \
  })

static unsigned long hash(unsigned long h, const void* at, size_t n) {
  const unsigned char* c = at;
  while (n-- > 0) {
    h = (h ^ *c++) * 0x100000001b3;
  }
  return h;
}

static void before(void) {
  memset(A, 0xa5, sizeof A);
  M = mmap(0, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(M, 0x5a, 3 * 4096);
  lseek(file, 0, SEEK_SET);
  iov[0] = (struct iovec){A, 10};
  iov[1] = (struct iovec){A + 100, 20};
  iov[2] = (struct iovec){A + 4090, 100};
  msg = (struct msghdr){.msg_name = A + 1000,
                        .msg_namelen = 128,
                        .msg_iov = iov,
                        .msg_iovlen = 3,
                        .msg_control = A + 2000,
                        .msg_controllen = 200};
  mm[0].msg_hdr = mm[1].msg_hdr = msg;
  errno = 0;
}

// access(2) says EFAULT of what cannot be read.
static unsigned long look(const char* at, size_t n) {
  unsigned long h = 0;
  for (size_t i = 0; i < n; i += 4096) {
    h = access(at + i, F_OK) != 0 && errno == EFAULT ? h + 1 : hash(h, at + i, 4096);
  }
  return h;
}

static void after(const char* name, long r) {
  const int error = errno;
  unsigned long h = hash(0, A, sizeof A);
  h = hash(h, iov, sizeof iov);
  h = hash(h, &msg, sizeof msg);
  h = hash(h, mm, sizeof mm);
  h ^= look(M, 3 * 4096);
  h ^= hash(1, S, 4096);
  h ^= hash(2, V, 4096);
  printf("%s: %ld %016lx\n", name, r < 0 && r >= -4095 && error != 0 ? (long)-error : r, h);
  munmap(M, 3 * 4096);
}

static void nothing(int signal) {
  (void)signal;
}

static void prepare(void) {
  char text[4096];
  signal(SIGUSR1, nothing);
  signal(SIGALRM, nothing);
  memset(text, 't', sizeof text);
  file = open(T, O_RDWR | O_CREAT | O_TRUNC, 0600);
  sf = open("shared.bin", O_RDWR | O_CREAT | O_TRUNC, 0600);
  pf = open("private.bin", O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (write(file, text, sizeof text) < 0 || write(sf, text, sizeof text) < 0 ||
      write(pf, text, sizeof text) < 0) {
    abort();
  }
  S = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, sf, 0);
  V = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, pf, 0);
  if (pipe(p) != 0 || socketpair(AF_UNIX, SOCK_DGRAM, 0, s) != 0) {
    abort();
  }
  struct winsize size = {24, 80, 0, 0};
  if (openpty(&pm, &pt, NULL, NULL, &size) != 0) {
    abort();
  }
  ep = epoll_create1(0);
  tf = timerfd_create(CLOCK_MONOTONIC, 0);
  pid_fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
  fcntl(s[0], F_SETFL, O_NONBLOCK);
  fcntl(s[1], F_SETFL, O_NONBLOCK);
  fcntl(p[0], F_SETFL, O_NONBLOCK);
}
