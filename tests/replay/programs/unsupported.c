// Asks for what a recording does not have, and says what it was told.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

static void say(const char* what, long result) {
  printf("%s: %ld %s\n", what, result, strerror(errno));
  errno = 0;
}

int main(void) {
  char parameters[256];
  memset(parameters, 0, sizeof parameters);
  say("io_uring_setup", syscall(SYS_io_uring_setup, 4, parameters));
  say("io_uring_enter", syscall(SYS_io_uring_enter, 0, 0, 0, 0, 0, 0));
  say("io_uring_register", syscall(SYS_io_uring_register, 0, 0, 0, 0));
  unsigned long context = 0;
  say("io_setup", syscall(SYS_io_setup, 4, &context));
  say("userfaultfd", syscall(SYS_userfaultfd, 0));
  const int device = open("/dev/userfaultfd", O_RDWR);
  if (device >= 0) {
    say("/dev/userfaultfd", ioctl(device, 0xaa00, 0)); // USERFAULTFD_IOC_NEW
  }
  memset(parameters, 0, sizeof parameters);
  ((unsigned*)parameters)[1] = 128; // perf_event_attr: a software event of the smallest size
  say("perf_event_open", syscall(SYS_perf_event_open, parameters, 0, -1, -1, 0));
  say("remap_file_pages", syscall(SYS_remap_file_pages, 0, 0, 0, 0, 0));
  say("modify_ldt", syscall(SYS_modify_ldt, 0, parameters, sizeof parameters));
  say("memfd_secret", syscall(SYS_memfd_secret, 0));
  say("map_shadow_stack", syscall(453, 0, 4096, 0));
  say("x32", syscall(0x40000000 + SYS_getpid));
  say("ptrace", ptrace(PTRACE_TRACEME, 0, NULL, NULL));
  say("iopl", syscall(SYS_iopl, 3));
  say("ioperm", syscall(SYS_ioperm, 0x80, 1, 1));
  say("MADV_HWPOISON", syscall(SYS_madvise, 0, 4096, 100));
  say("CPUID", syscall(SYS_arch_prctl, 0x1012, 0));
  say("vDSO", syscall(SYS_arch_prctl, 0x2003, 0));
  say("tagged addresses", syscall(SYS_arch_prctl, 0x4002, 6));
  say("shadow stacks", syscall(SYS_arch_prctl, 0x5001, 1));
  char selector = 0;
  say("dispatching", prctl(59, 1, 0, 0, &selector));
  return 0;
}
