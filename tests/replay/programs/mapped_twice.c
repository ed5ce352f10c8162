// Makes code that reads the time-stamp counter through one mapping of a memfd and executes it
// through another.
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// rdtsc; shl $32, %rdx; or %rdx, %rax; ret
static const unsigned char kCode[] = {0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0, 0xc3};

int main(void) {
  const int file = memfd_create("code", 0);
  if (file < 0 || ftruncate(file, 4096) != 0) {
    return 1;
  }
  unsigned char* written = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  unsigned char* executed = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0);
  if (written == MAP_FAILED || executed == MAP_FAILED) {
    return 1;
  }
  memcpy(written, kCode, sizeof kCode);
  uint64_t (*call)(void);
  memcpy(&call, &executed, sizeof call);
  const uint64_t first = call();
  printf("%llu %llu\n", (unsigned long long)first, (unsigned long long)call());
  return 0;
}
