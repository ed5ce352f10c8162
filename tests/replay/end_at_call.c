// To be preloaded into pcp-rr: ends it by SIGKILL at its END_AT-th call of ptrace(2) or waitpid(2),
// before the call is made. With END_COUNT, a file that gets the number of calls at its end.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static long calls;
static long end_at = -1;
static pid_t self;

__attribute__((constructor)) static void begin(void) {
  const char* text = getenv("END_AT");
  end_at = text != NULL ? atol(text) : -1;
  self = getpid();
}

__attribute__((destructor)) static void finish(void) {
  const char* name = getenv("END_COUNT");
  const int file = name != NULL && getpid() == self
                       ? open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)
                       : -1;
  if (file >= 0) {
    dprintf(file, "%ld\n", calls);
    close(file);
  }
}

static void count(void) {
  if (getpid() == self && __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST) == end_at) {
    kill(self, SIGKILL);
  }
}

long ptrace(int request, ...) {
  va_list arguments;
  va_start(arguments, request);
  const pid_t pid = va_arg(arguments, pid_t);
  void* address = va_arg(arguments, void*);
  void* data = va_arg(arguments, void*);
  va_end(arguments);
  count();
  if (request >= 1 && request <= 3) { // PTRACE_PEEK*: as the C library returns them
    long word = 0;
    const long result = syscall(SYS_ptrace, request, pid, address, &word);
    if (result == 0) {
      errno = 0;
    }
    return result == 0 ? word : -1;
  }
  return syscall(SYS_ptrace, request, pid, address, data);
}

pid_t waitpid(pid_t pid, int* status, int options) {
  count();
  return (pid_t)syscall(SYS_wait4, pid, status, options, NULL);
}
