// Makes code that reads the time-stamp counter in memory that is writable and executable at once.
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

// rdtsc; shl $32, %rdx; or %rdx, %rax; ret
static const unsigned char kCode[] = {0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0, 0xc3};

int main(void) {
  unsigned char* page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (int round = 0; round < 3; ++round) {
    unsigned char* place = page + (size_t)round * 64;
    memcpy(place, kCode, sizeof kCode);
    uint64_t (*call)(void);
    memcpy(&call, &place, sizeof call);
    const uint64_t first = call();
    printf("%llu %llu\n", (unsigned long long)first, (unsigned long long)call());
  }
  return 0;
}
