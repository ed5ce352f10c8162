// Memory that is written by other ways than through its addresses: /proc/PID/mem,
// process_vm_writev(2); one's own and a child's.
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

static char word[8] = "at first";
static const char constant[4096] __attribute__((aligned(4096))) = "constant";

static void show(const char* what) {
  printf("%s: %.8s %.8s\n", what, word, constant);
}

static int open_memory(pid_t pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/mem", pid);
  return open(path, O_RDWR);
}

int main(void) {
  setvbuf(stdout, 0, _IOLBF, 0);
  show("before");
  int own = open_memory(getpid());
  if (pwrite(own, "pwrite--", 8, (off_t)(unsigned long)word) != 8) {
    abort();
  }
  show("pwrite");
  lseek(own, (off_t)(unsigned long)word, SEEK_SET);
  if (write(own, "write---", 8) != 8) {
    abort();
  }
  show("write");
  if (pwrite(own, "READONLY", 8, (off_t)(unsigned long)constant) != 8) {
    abort();
  }
  show("memory that is not writable");
  struct iovec from = {"vm_write", 8}, to = {word, 8};
  if (process_vm_writev(getpid(), &from, 1, &to, 1, 0) != 8) {
    abort();
  }
  show("process_vm_writev");

  int to_child[2], to_parent[2];
  char byte = 0;
  if (pipe(to_child) != 0 || pipe(to_parent) != 0) {
    abort();
  }
  pid_t child = fork();
  if (child == 0) {
    close(to_child[1]);
    while (read(to_child[0], &byte, 1) == 1 && byte == 'x') {
      show("the child");
      if (write(to_parent[1], "x", 1) != 1) {
        _exit(1);
      }
    }
    _exit(0);
  }
  int other = open_memory(child);
  from.iov_base = "to child";
  if (process_vm_writev(child, &from, 1, &to, 1, 0) != 8) {
    abort();
  }
  if (write(to_child[1], "x", 1) != 1 || read(to_parent[0], &byte, 1) != 1) {
    abort();
  }
  if (pwrite(other, "by file-", 8, (off_t)(unsigned long)word) != 8) {
    abort();
  }
  if (write(to_child[1], "x", 1) != 1 || read(to_parent[0], &byte, 1) != 1) {
    abort();
  }
  show("the parent");
  close(to_child[1]);
  waitpid(child, 0, 0);
  return 0;
}
