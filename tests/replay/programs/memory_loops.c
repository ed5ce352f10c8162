// Signals that find a loop with the registers with which the task came to it, while memory has
// changed: a replay must have changed it as often.
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>
#include <unistd.h>

static unsigned long count;
static int null;

static void arm(void) {
  const struct itimerval once = {{0, 0}, {0, 20000}};
  setitimer(ITIMER_REAL, &once, NULL);
}

static void look(int signal) {
  (void)signal;
  static int round;
  static unsigned long before;
  // What a call reads is compared.
  const ssize_t written = write(null, &count, sizeof count);
  // (The loop calls nothing that this could come in the middle of.)
  printf("round %d: %zd, %s\n", round, written, count > before ? "counted" : "did not count");
  before = count;
  round += 1;
  if (round == 3) {
    fflush(stdout);
    _exit(0);
  }
  arm();
}

int main(void) {
  null = open("/dev/null", O_WRONLY);
  struct sigaction action = {.sa_handler = look};
  sigaction(SIGALRM, &action, NULL);
  arm();
  // Adding 256 leaves the flags that they are.
  __asm__ volatile("1: addq $256, %0\n"
                   "  jmp 1b\n"
                   : "+m"(count)
                   :
                   : "cc", "memory");
  return 1;
}
