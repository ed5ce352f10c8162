// Lets a random number of the processor decide what a system call gets: nobody can trap RDRAND, so
// a replay of this diverges. Status 77 where the processor has no such instruction.
#define _GNU_SOURCE
#include <cpuid.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void) {
  unsigned a, b, c, d;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_RDRND) == 0) {
    return 77;
  }
  printf("before\n");
  fflush(stdout);
  unsigned long number;
  unsigned char valid;
  do {
    __asm__ volatile("rdrand %0; setc %1" : "=r"(number), "=qm"(valid) : : "cc");
  } while (valid == 0);
  syscall(SYS_getpgid, number);
  printf("after\n");
  return 0;
}
