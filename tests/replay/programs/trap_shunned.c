// Blocks SIGTRAP, or ignores it, and computes where it can be stepped and watched.
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

volatile int middle;

__attribute__((noinline)) int work(int rounds) {
  int sum = 0;
  for (int i = 0; i < rounds; ++i) {
    sum += i * i;
    if (i == rounds / 2) {
      middle = sum;
    }
  }
  return sum;
}

int main(int argc, char** argv) {
  (void)argv;
  if (argc == 1) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTRAP);
    sigprocmask(SIG_BLOCK, &set, NULL);
  } else {
    signal(SIGTRAP, SIG_IGN);
  }
  printf("%d\n", work(1000));
  getppid();
  printf("%d\n", work(2000));
  return 0;
}
