// Pointers to nothing, lengths beyond everything, and structures that end where memory does.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static void say(const char* what, long r) {
  printf("%s %ld\n", what, r < 0 ? (long)-errno : r);
}

int main(void) {
  setvbuf(stdout, 0, _IOLBF, 0);
  struct timespec t = {0, 1000};
  say("nanosleep", syscall(SYS_nanosleep, &t, (void*)-16L));
  say("poll", syscall(SYS_poll, (void*)-4096L, 1, 0));
  say("poll", syscall(SYS_poll, (void*)16, 1ul << 40, 0));
  say("read", syscall(SYS_read, 0, (void*)8, ~0ul));
  say("getrandom", syscall(SYS_getrandom, (void*)8, 100, 0) < 0);
  say("sched_getattr", syscall(SYS_sched_getattr, 0, (void*)-8L, 48, 0));
  char* page = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(page + 4096, 4096);
  memset(page, 7, 4096);
  say("stat", syscall(SYS_stat, "/", page + 4096 - 50));
  int sum = 0;
  for (int i = 0; i < 4096; ++i) {
    sum = sum * 31 + page[i];
  }
  printf("%d\n", sum);
  struct iovec io = {page, ~0ul >> 1};
  say("readv", syscall(SYS_readv, 0, &io, 1));
  say("readv", syscall(SYS_readv, 0, (void*)1, 1));
  struct msghdr m = {
      .msg_name = (void*)-1L, .msg_namelen = 100, .msg_iov = (void*)-1L, .msg_iovlen = 5};
  // What can be read and not written is not what a failed call has written to: memory that is
  // shared, and a file that changes later.
  char* shared = mmap(0, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  say("readlink", syscall(SYS_readlink, "/proc/self/exe", shared, 4096));
  int fd = open("bytes", O_RDWR | O_CREAT | O_TRUNC, 0600);
  say("write", write(fd, page, 4096));
  char* file = mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
  char* written = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  char* untouched = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  written[9] = 3;
  say("getcwd", syscall(SYS_getcwd, file, 4096));
  say("stat", syscall(SYS_stat, "/", written + 4096 - 50));
  say("readv", syscall(SYS_preadv, fd, &(struct iovec){untouched + 4090, 4096}, 1, 4096, 0));
  say("read", syscall(SYS_pread64, fd, untouched + 4096, 4096, 0));
  say("write", pwrite(fd, "abcdefgh", 8, 4));
  printf("%d %d %d %d %d\n", file[5], written[5], written[9], untouched[5], shared[5]);
  int s[2];
  socketpair(AF_UNIX, SOCK_DGRAM, 0, s);
  send(s[0], "message", 7, 0);
  say("recvmsg", recvmsg(s[1], &m, MSG_DONTWAIT));
  unsigned length = 0xfffffff0u;
  say("getsockopt", getsockopt(s[0], SOL_SOCKET, SO_SNDBUF, page, &length));
  printf("%u\n", length);
  say("execve", syscall(SYS_execve, (void*)-1L, (void*)-1L, (void*)-1L));
  // What is readable becomes executable.
  say("personality", personality(0xffffffff));
  say("personality", personality(READ_IMPLIES_EXEC));
  char* code = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  code[0] = (char)0xc3; // ret
  ((void (*)(void))code)();
  say("personality", personality(0));
  return 0;
}
