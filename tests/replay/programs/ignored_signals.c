// Says which signals it finds ignored, blocked, or bound to its parent's end.
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>

int main(void) {
  sigset_t blocked;
  sigprocmask(SIG_BLOCK, NULL, &blocked);
  for (int signal = 1; signal < NSIG; ++signal) {
    struct sigaction action;
    if (sigaction(signal, NULL, &action) == 0 && action.sa_handler != SIG_DFL) {
      printf("%d is %s\n", signal, action.sa_handler == SIG_IGN ? "ignored" : "handled");
    }
    if (sigismember(&blocked, signal) == 1) {
      printf("%d is blocked\n", signal);
    }
  }
  int bound = 0;
  prctl(PR_GET_PDEATHSIG, &bound);
  printf("parent's end: %d\n", bound);
  return 0;
}
