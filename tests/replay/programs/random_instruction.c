// Lets a random number of the processor decide what a system call gets. With an argument the
// instruction lies in memory that is mapped shared, where it cannot be replaced: a replay of that
// diverges. Status 77 where the processor has no such instruction.
#define _GNU_SOURCE
#include <cpuid.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

// again: rdrand %rax; jnc again; ret
static const unsigned char kCode[] = {0x48, 0x0f, 0xc7, 0xf0, 0x73, 0xfa, 0xc3};

int main(int argc, char** argv) {
  (void)argv;
  unsigned a, b, c, d;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_RDRND) == 0) {
    return 77;
  }
  void* page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                    (argc > 1 ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS, -1, 0);
  memcpy(page, kCode, sizeof kCode);
  mprotect(page, 4096, PROT_READ | PROT_EXEC);
  printf("before\n");
  fflush(stdout);
  uint64_t (*random)(void);
  memcpy(&random, &page, sizeof random);
  syscall(SYS_getpgid, random());
  printf("after\n");
  return 0;
}
