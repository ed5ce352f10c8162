// Reads a file into memory, sums it up, and tells nobody: what differs shows in memory alone.
#include <fcntl.h>
#include <unistd.h>

static unsigned char data[3 * 4096];
static volatile unsigned long sums[4096];

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
    getppid();
  }
  return 0;
}
