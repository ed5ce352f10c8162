// Reads a file into memory, sums it up, and tells nobody: what differs shows in memory alone.
#include <fcntl.h>
#include <unistd.h>

static unsigned char data[3 * 4096];
static volatile unsigned long sums[4096];

// Leaves nothing of the sum in the registers that a call may change.
static void forget(void) {
  __asm__ volatile("xorl %%eax, %%eax\n xorl %%ecx, %%ecx\n xorl %%edx, %%edx\n"
                   "xorl %%esi, %%esi\n xorl %%edi, %%edi\n xorl %%r8d, %%r8d\n"
                   "xorl %%r9d, %%r9d\n xorl %%r10d, %%r10d\n xorl %%r11d, %%r11d\n"
                   :
                   :
                   : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "cc");
}

int main(int argc, char** argv) {
  const int file = open(argc > 1 ? argv[1] : argv[0], O_RDONLY);
  if (file < 0) {
    return 1;
  }
  const ssize_t length = read(file, data, sizeof data);
  for (int round = 0; round < 20; ++round) {
    for (ssize_t i = 0; i < length; ++i) {
      sums[(unsigned)round] += data[i];
    }
    forget();
    getppid();
  }
  return 0;
}
